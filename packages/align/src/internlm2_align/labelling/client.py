"""ChatClient: asks an OpenAI-compatible chat endpoint, again where that may help."""

import json
import os
import random
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from internlm2_records import Message

AGAIN = (408, 409, 425, 429, 500, 502, 503, 504)
"""Status codes after which the same request may succeed."""
STOP = (401, 403, 404, 405)
"""Those after which no request will."""
LONGEST_WAIT_S = 60.0
MAX_ANSWER_BYTES = 10_000_000


class AskError(Exception):
    """One request failed for good.

    Args:
        reason: A short name for counts.
        detail: What happened.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to nobody but the address that was given."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@dataclass
class ChatClient:
    """A model behind ``BASE_URL/chat/completions``.

    Attributes:
        base_url: Address, such as ``http://127.0.0.1:8000/v1``.
        model: Name of the model.
        key_variable: Environment variable that holds the key. None sends none.
        max_requests: Requests sent at most, repeated ones included.
        retries: Times that a request is repeated.
        first_wait_s: Seconds before the first repetition. Each later one waits twice as long.
        timeout_s: Seconds without an answer after which a request has failed.
        max_tokens: Tokens of an answer at most.
        temperature: Of the sampling.

    Raises:
        ValueError: If the address is not one of HTTP, or the variable holds no key.
    """

    base_url: str
    model: str
    key_variable: str | None = "OPENAI_API_KEY"
    max_requests: int = 1000
    retries: int = 5
    first_wait_s: float = 1.0
    timeout_s: float = 120.0
    max_tokens: int = 512
    temperature: float = 0.0
    sent: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"base_url={self.base_url} must begin with http:// or https:// and name a host.")
        self._key = os.environ.get(self.key_variable, "") if self.key_variable else ""
        if self.key_variable and not self._key:
            raise ValueError(
                f"key_variable={self.key_variable} names an environment variable that is not set. Put the key of "
                f"{self.base_url} there, or say null if it wants none."
            )
        # A proxy cannot reach this machine's own loopback.
        proxies = [urllib.request.ProxyHandler({})] if is_loopback(parts.hostname) else []
        self._opener = urllib.request.build_opener(_NoRedirect, *proxies)

    def ask(self, messages: Sequence[Message]) -> str:
        """The model's answer.

        Args:
            messages: The conversation.

        Raises:
            AskError: If there is none. The reason is ``refused``, ``overloaded``, ``unreachable``, ``timeout``,
                ``malformed`` or ``max_requests``.
            ValueError: If the endpoint would refuse every request: a wrong key, address or model.
        """
        for attempt in range(self.retries + 1):
            self._count()
            try:
                return _content(self._post(messages))
            except urllib.error.HTTPError as error:
                said = error.read(500).decode("utf-8", "replace").strip()
                if error.code in STOP:
                    raise ValueError(
                        f"base_url={self.base_url} answers {error.code} ({error.reason}) to model={self.model}: {said}"
                    ) from None
                failed = AskError("overloaded" if error.code in AGAIN else "refused", f"{error.code}: {said}")
                asked_s = error.headers.get("Retry-After", "")
                if error.code not in AGAIN:
                    raise failed from None
            except TimeoutError:
                failed, asked_s = AskError("timeout", f"no answer in {self.timeout_s} s"), ""
            except (OSError, HTTPException) as error:
                is_timeout = isinstance(getattr(error, "reason", None), TimeoutError)
                failed, asked_s = AskError("timeout" if is_timeout else "unreachable", str(error)), ""
            if attempt < self.retries:
                self._wait(attempt, asked_s)
        raise failed

    def _count(self) -> None:
        with self._lock:
            if self.sent >= self.max_requests:
                raise AskError("max_requests", f"max_requests={self.max_requests} were sent.")
            self.sent += 1

    def _post(self, messages: Sequence[Message]) -> bytes:
        body = {"model": self.model, "messages": list(messages), "temperature": self.temperature}
        data = json.dumps(body | {"max_tokens": self.max_tokens}).encode()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(f"{self.base_url.rstrip('/')}/chat/completions", data, headers)
        with self._opener.open(request, timeout=self.timeout_s) as response:
            found: bytes = response.read(MAX_ANSWER_BYTES)
            return found

    def _wait(self, attempt: int, asked_s: str) -> None:
        # Random, or all that were refused at once come back at once.
        wait_s = self.first_wait_s * 2**attempt * random.uniform(0.5, 1)
        if asked_s.isdigit():
            wait_s = max(wait_s, float(asked_s))
        time.sleep(min(wait_s, LONGEST_WAIT_S))


def _content(answer: bytes) -> str:
    """The text of an answer.

    Raises:
        AskError: If it is not an answer of a chat endpoint.
    """
    try:
        text = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise AskError("malformed", f"not an answer of a chat endpoint: {answer[:200].decode('utf-8', 'replace')}")
    return text


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by a name or address that never leaves it."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
