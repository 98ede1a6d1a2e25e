"""Ranks of a node that one of them has started end together.

The first rank notices others that fail, and they notice that it is gone, however either ended. Where several jobs run
one after the other in the first rank's process, as in a sweep, each has its own ranks: a job that failed ends alone.
"""

import logging
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

log = logging.getLogger(__name__)

TRY_AGAIN = 75
"""Exit code of a rank that was pre-empted and has saved its state, as the others will: EX_TEMPFAIL of sysexits.h."""


class Failure(NamedTuple):
    """Of a rank.

    Attributes:
        rank: Its index on this node.
        code: Its exit code, below zero where a signal ended it.
    """

    rank: int
    code: int

    def __str__(self) -> str:
        how = f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"
        return f"Rank {self.rank} of this node ended with {how}. What it said is above."


def failure_of(children: Sequence[subprocess.Popen[bytes]], patience_s: float = 0.0) -> Failure | None:
    """The first rank that has failed.

    Args:
        children: Ranks from 1 on.
        patience_s: Seconds in which one may still fail.
    """
    until = time.monotonic() + patience_s
    while True:
        for rank, child in enumerate(children, 1):
            if (code := child.poll()) not in (None, 0, TRY_AGAIN):
                return Failure(rank, code)
        if not children or time.monotonic() >= until:
            return None
        time.sleep(0.05)


def end(children: Sequence[subprocess.Popen[bytes]], patience_s: float = 2.0) -> None:
    """End ranks.

    Args:
        children: The processes.
        patience_s: Seconds until they are killed.
    """
    for child in children:
        child.terminate()
    until = time.monotonic() + patience_s
    for child in children:
        try:
            child.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


class Watch(threading.Thread):
    """Ends this process where another rank has failed and this one still waits for it.

    Collectives over gloo end by themselves when a rank is gone, so this rank has time to say what it was doing.

    Args:
        children: Ranks from 1 on.
        is_current: Whether the job that they belong to is the one that this process runs.
        patience_s: Seconds until this process is ended.
        leave: Ends it.
    """

    def __init__(
        self,
        children: Sequence[subprocess.Popen[bytes]],
        is_current: Callable[[], bool],
        patience_s: float = 20.0,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        super().__init__(name="watch-over-ranks", daemon=True)
        self.children, self.is_current, self.patience_s, self.leave = children, is_current, patience_s, leave
        self.stopped = threading.Event()

    def run(self) -> None:
        """Look every second."""
        failed_at = None
        while not self.stopped.wait(min(1.0, self.patience_s)) and self.is_current():
            if (failed := failure_of(self.children)) is None:
                continue
            failed_at = failed_at or time.monotonic()
            if time.monotonic() - failed_at >= self.patience_s:
                log.error("%s This rank still waits for it, and ends too.", failed)
                end(self.children, patience_s=0.0)
                self.leave(1)
                return


def follow(first: int) -> None:
    """Leave when the process that has started this rank is gone.

    Args:
        first: Its id.
    """

    def wait() -> None:
        while os.getppid() == first:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=wait, name="follow-the-first-rank", daemon=True).start()
