"""A Python interpreter that keeps its variables over several turns: the code interpreter of a chat."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.outcome import Outcome, Status, shown
from internlm2_core.sandbox.process import ProcessSandbox
from internlm2_core.sandbox.starting import Sandbox, Started, checked_files

DRIVER = Path(__file__).with_name("driver.py")
TURNS = 50
"""Times ``limits.seconds`` that each process of a session may compute in all."""


class Session:
    """A context in which pieces of Python run one after another with the same variables and files.

    A piece that breaks a limit, or ends its interpreter, costs the variables: the next one finds a fresh interpreter.

    Args:
        limits: What each piece may use. Files and memory are those of the whole session.
        sandbox: Where it runs. None means a `ProcessSandbox`.
        files: Texts by name in its folder.

    Raises:
        ValueError: If the files cannot be laid out.
    """

    def __init__(
        self, limits: Limits | None = None, sandbox: Sandbox | None = None, files: Mapping[str, str] | None = None
    ) -> None:
        self.limits, self.sandbox = limits or Limits(), sandbox or ProcessSandbox()
        self.files = checked_files(DRIVER.read_text(encoding="utf-8"), files or {}, self.limits)
        self._started: Started | None = None

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the interpreter. Its variables and files are gone."""
        if self._started is not None:
            self._started.close()
            self._started = None

    def run(self, source: str) -> Outcome:
        """Run a piece. The value of a last expression is printed.

        Args:
            source: The piece.

        Raises:
            SandboxUnavailableError: If programs cannot be isolated here.
        """
        start = time.perf_counter()
        mark = f"\0{secrets.token_hex(16)} "
        started = self._interpreter()
        try:
            started.watched.send(json.dumps({"source": source, "mark": mark}).encode() + b"\n")
            end = _End(started, mark.encode())
            reason = started.watched.until(time.perf_counter() + self.limits.seconds, end.reached)
            seconds = time.perf_counter() - start
            if reason == "ready":
                return end.outcome(self.limits, seconds)
            outcome = started.outcome(reason, seconds)
        except BaseException:
            self.close()
            raise
        self.close()
        return outcome if outcome.status != "ok" else replace(outcome, status="killed")

    def _interpreter(self) -> Started:
        if self._started is None:
            whole = replace(self.limits, seconds=self.limits.seconds * TURNS)
            self._started = self.sandbox.start(self.files, whole)
        return self._started


class _End:
    """The end of a turn in both streams."""

    def __init__(self, started: Started, mark: bytes) -> None:
        self.received, self.mark = started.watched.received, mark

    def reached(self) -> bool:
        for data in self.received.values():
            found = data.rfind(self.mark)
            if found < 0 or data.find(b"\n", found) < 0:
                return False
        return True

    def outcome(self, limits: Limits, seconds: float) -> Outcome:
        """What the turn did. What came after it stays for the next one."""
        texts, said = {}, b""
        for name, data in self.received.items():
            text, _, rest = bytes(data).partition(self.mark)
            said, _, late = rest.partition(b"\n")
            texts[name] = shown(text, limits.output_bytes)
            data[:] = late
        status = said.decode(errors="replace")
        status = status if status in ("ok", "error", "memory") else "error"
        return Outcome(cast(Status, status), texts["stdout"], texts["stderr"], seconds, None)
