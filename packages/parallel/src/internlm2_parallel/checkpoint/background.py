"""One thread that does things in order. What fails leaves the rest undone."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor


class Background:
    """Does what it is given, one after the other."""

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._given: list[Future[None]] = []

    @property
    def is_busy(self) -> bool:
        """Whether something is not done yet."""
        return any(not given.done() for given in self._given)

    def do(self, work: Callable[[], None]) -> None:
        """Do something after all that was given before, unless any of that failed."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-writer")
        before = tuple(self._given)

        def run() -> None:
            if all(given.exception() is None for given in before):
                work()

        self._given.append(self._thread.submit(run))

    def wait(self) -> None:
        """Until all is done.

        Raises:
            Exception: If something failed: the first that did.
        """
        given, self._given = self._given, []
        for each in given:
            each.exception()
        for each in given:
            each.result()
