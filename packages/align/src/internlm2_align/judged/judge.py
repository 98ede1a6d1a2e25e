"""Judge: a model behind an endpoint that is asked many questions, each once, and every answer of it is kept."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

from internlm2_records import Message

from internlm2_align.kept import Kept, key_of
from internlm2_align.labelling.annotator import now
from internlm2_align.labelling.client import AskError, ChatClient
from internlm2_align.labelling.endpoint import MOST_LOST, tokens

ANSWER_TOKENS = 250
"""A few sentences and a verdict, for the estimate."""


@dataclass(frozen=True)
class Said:
    """What the judge said.

    Attributes:
        answers: Text by name of the request.
        failed: Requests without an answer, by reason. They are asked again by the next run.
    """

    answers: Mapping[str, str]
    failed: Counter[str] = field(default_factory=Counter)


class Judge:
    """Asks an OpenAI-compatible endpoint, many requests at a time. Says first what it will take.

    Args:
        base_url: Address, such as ``http://127.0.0.1:8000/v1``.
        model: Name of the model.
        key_variable: Environment variable that holds the key. None sends none.
        max_requests: Requests of one task. Where more are needed, nothing is asked. Repeated ones count when they are
            sent.
        max_cost: Highest estimated cost of one task. It needs both prices. None sets no limit.
        price_in: Price of a million tokens that are read.
        price_out: Price of a million tokens that are written.
        concurrency: Requests at once.
        retries: Times that a request is repeated.
        first_wait_s: Seconds before the first repetition. Each later one waits twice as long.
        timeout_s: Seconds without an answer after which a request has failed.
        max_tokens: Tokens of an answer at most. 2,048 in FastChat.

    Raises:
        ValueError: If a number is out of range, the address is not one of HTTP, or the variable holds no key.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        key_variable: str | None = "OPENAI_API_KEY",
        max_requests: int = 2000,
        max_cost: float | None = None,
        price_in: float | None = None,
        price_out: float | None = None,
        concurrency: int = 8,
        retries: int = 5,
        first_wait_s: float = 1.0,
        timeout_s: float = 120.0,
        max_tokens: int = 2048,
    ) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency={concurrency} must be 1 or more.")
        if max_cost is not None and (price_in is None or price_out is None):
            raise ValueError(f"max_cost={max_cost} needs price_in={price_in} and price_out={price_out} as numbers.")
        self.client = ChatClient(
            base_url, model, key_variable, max_requests, retries, first_wait_s, timeout_s, max_tokens
        )
        self.max_cost, self.price_in, self.price_out = max_cost, price_in, price_out
        self.concurrency = concurrency

    @property
    def name(self) -> str:
        """Model and address."""
        return f"{self.client.model} at {self.client.base_url}"

    def ask(self, requests: Mapping[str, Sequence[Message]], kept: Kept, progress: Callable[[int, int], None]) -> Said:
        """Ask what was not asked before.

        Args:
            requests: Conversations by name.
            kept: Where answers are kept. Those to the same conversation by the same model are taken from there.
            progress: Called with (done, total).

        Raises:
            ValueError: If more requests or more money is needed than allowed, or the endpoint refuses all or is gone.
        """
        keys = {name: self._key(messages) for name, messages in requests.items()}
        waiting = {keys[name]: messages for name, messages in requests.items() if keys[name] not in kept}
        if waiting:
            self._check([*waiting.values()], len(requests) - len(waiting))
        failed: Counter[str] = Counter()
        names: dict[str, list[str]] = {}
        for name, key in keys.items():
            names.setdefault(key, []).append(name)
        for done, (key, answer) in enumerate(self._ask(waiting), 1):
            if isinstance(answer, AskError):
                failed[answer.reason] += len(names[key])
            else:
                kept.add([(key, {"names": names[key], "judge": self.name, "time": now(), "said": answer})])
            progress(len(requests) - len(waiting) + done, len(requests))
        return Said({name: kept[key]["said"] for name, key in keys.items() if key in kept}, failed)

    def estimate(self, requests: Sequence[Sequence[Message]]) -> tuple[int, int, float | None]:
        """Tokens in and out, and the cost where prices are known.

        Tokens are counted as a quarter of the characters, and one for each Chinese, Japanese or Korean one.

        Args:
            requests: Conversations.
        """
        tokens_in = sum(tokens(turn["content"]) for messages in requests for turn in messages)
        tokens_out = ANSWER_TOKENS * len(requests)
        if self.price_in is None or self.price_out is None:
            return tokens_in, tokens_out, None
        return tokens_in, tokens_out, (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def _check(self, requests: Sequence[Sequence[Message]], known: int) -> None:
        tokens_in, tokens_out, cost = self.estimate(requests)
        sentence = (
            f"{self.name} is asked {len(requests)} requests ({known} are answered already), about {tokens_in} tokens "
            f"in and {tokens_out} out{'' if cost is None else f', at a cost of about {cost:.2f}'}."
        )
        if len(requests) > self.client.max_requests:
            raise ValueError(f"max_requests={self.client.max_requests} is too few. {sentence} Nothing was asked.")
        if self.max_cost is not None and cost is not None and cost > self.max_cost:
            raise ValueError(f"max_cost={self.max_cost} is too low. {sentence} Nothing was asked.")
        print(sentence, flush=True)

    def _ask(self, waiting: Mapping[str, Sequence[Message]]) -> Iterator[tuple[str, str | AskError]]:
        self.client.sent = 0
        pool = ThreadPoolExecutor(self.concurrency)
        try:
            lost = 0
            futures = {pool.submit(self._answer, messages): key for key, messages in waiting.items()}
            for done in as_completed(futures):
                answer = done.result()
                yield futures[done], answer
                is_lost = isinstance(answer, AskError) and answer.reason == "unreachable"
                lost = lost + 1 if is_lost else 0
                if lost == MOST_LOST:
                    raise ValueError(f"base_url={self.client.base_url} cannot be reached: {answer}.")
        finally:
            pool.shutdown(cancel_futures=True)

    def _answer(self, messages: Sequence[Message]) -> str | AskError:
        try:
            return self.client.ask(messages)
        except AskError as error:
            return error

    def _key(self, messages: Sequence[Message]) -> str:
        return key_of(self.client.model, self.client.temperature, self.client.max_tokens, list(messages))


def counts(said: Said, unread: int) -> dict[str, Any]:
    """What became of the requests, for figures.

    Args:
        said: What the judge said.
        unread: Answers that hold no verdict.
    """
    asked = len(said.answers) + said.failed.total()
    failed = dict(sorted(said.failed.items())) | ({"no_verdict": unread} if unread else {})
    return {"requests": asked, "judged": len(said.answers) - unread, "failed": failed}
