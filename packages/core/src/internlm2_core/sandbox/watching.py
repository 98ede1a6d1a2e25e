"""Watches a process that is not trusted: its streams, its time and its memory."""

import contextlib
import os
import selectors
import time
from collections.abc import Callable
from subprocess import Popen
from typing import Literal

Reason = Literal["ready", "ended", "timeout", "memory", "output"]
TICK_S = 0.05
"""Between two looks at memory."""


class Watched:
    """A process whose standard streams are pipes.

    Args:
        process: The process. Its streams are read and written here alone.
        output_bytes: The most bytes that are kept of stdout and of stderr.
        memory_bytes: The most memory.
        memory: Says how much memory is used. None if something else limits it.
    """

    def __init__(
        self, process: Popen[bytes], output_bytes: int, memory_bytes: int, memory: Callable[[], int] | None = None
    ) -> None:
        assert process.stdin and process.stdout and process.stderr
        self.process, self.output_bytes, self.memory_bytes, self.memory = process, output_bytes, memory_bytes, memory
        self.received = {"stdout": bytearray(), "stderr": bytearray()}
        self._stdin, self._unsent, self._close_stdin = process.stdin.fileno(), memoryview(b""), False
        self._sends = False
        self._ended = os.pidfd_open(process.pid)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._ended, selectors.EVENT_READ, "ended")
        for name, stream in (("stdout", process.stdout), ("stderr", process.stderr)):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream.fileno(), selectors.EVENT_READ, name)
        os.set_blocking(self._stdin, False)

    def send(self, data: bytes, last: bool = False) -> None:
        """Write to the process while it is watched.

        Args:
            data: What it reads from stdin.
            last: Whether stdin ends there.
        """
        if not self._sends:
            self._selector.register(self._stdin, selectors.EVENT_WRITE, "stdin")
        self._unsent, self._close_stdin, self._sends = memoryview(bytes(self._unsent) + data), last, True

    def until(self, deadline: float, ready: Callable[[], bool] = lambda: False) -> Reason:
        """Watch until something happens.

        Args:
            deadline: Time at which it is over, by ``time.perf_counter``.
            ready: Whether what was received is what was waited for.
        """
        while True:
            # The end is looked at before the streams are read, so that nothing is missed between the two.
            happened = {
                key.data for key, _ in self._selector.select(max(0.0, min(TICK_S, deadline - time.perf_counter())))
            }
            if "stdin" in happened:
                self._write()
            for name in ("stdout", "stderr"):
                if name in happened:
                    self._read(name)
            if any(len(held) > self.output_bytes for held in self.received.values()):
                return "output"
            if ready():
                return "ready"
            if "ended" in happened and not happened & {"stdout", "stderr"}:
                return "ended"
            if time.perf_counter() >= deadline:
                return "timeout"
            if self.memory is not None and self.memory() > self.memory_bytes:
                return "memory"

    def close(self) -> None:
        """Close the streams. The process must have ended."""
        self._selector.close()
        os.close(self._ended)
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                stream.close()  # type: ignore[union-attr]

    def _write(self) -> None:
        try:
            self._unsent = self._unsent[os.write(self._stdin, self._unsent[: 1 << 16]) :]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self._unsent = memoryview(b"")
        if not self._unsent:
            self._selector.unregister(self._stdin)
            self._sends = False
            if self._close_stdin:
                assert self.process.stdin
                self.process.stdin.close()

    def _read(self, name: str) -> None:
        stream = getattr(self.process, name)
        try:
            part = os.read(stream.fileno(), 1 << 16)
        except BlockingIOError:
            return
        if part:
            self.received[name] += part
        else:
            self._selector.unregister(stream.fileno())
