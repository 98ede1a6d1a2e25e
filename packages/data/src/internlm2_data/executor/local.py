"""All cores of this machine."""

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TypeVar

from internlm2_data.executor.protocol import Failure, attempt, failed

T = TypeVar("T")
R = TypeVar("R")


class LocalExecutor:
    """Worker processes on this machine.

    Args:
        workers: Number of processes. 0 works in this one, None takes as many as there are cores to use.
        attempts: How often a task is tried before it counts as failed.
    """

    def __init__(self, workers: int | None = None, attempts: int = 2) -> None:
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self.attempts = attempts
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Failure]:
        """See `Executor`."""
        if self.workers < 1 or len(tasks) < 2:
            for task in tasks:
                yield attempt(function, task, self.attempts)
            return
        futures: deque[Future[R]] = deque(self._submit(function, task) for task in tasks)
        for place, task in enumerate(tasks):
            try:
                result: R | Failure = futures.popleft().result()
            except BrokenProcessPool:
                # A worker died (memory, segmentation fault) and took the pool along. Whose fault it was shows when
                # this task runs alone. Those behind it start again.
                self._pool = None
                result = attempt(partial(self._alone, function), task, self.attempts)
                futures = deque(self._submit(function, later) for later in tasks[place + 1 :])
            except Exception as error:
                left = self.attempts - 1
                result = attempt(lambda t: self._submit(function, t).result(), task, left) if left else failed(error)
            yield result

    def close(self) -> None:
        """End the worker processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def _submit(self, function: Callable[[T], R], task: T) -> Future[R]:
        if self._pool is None:
            # Not fork: the caller may have threads (torch, progress bars), which a fork would tear.
            self._pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"))
        return self._pool.submit(function, task)

    @staticmethod
    def _alone(function: Callable[[T], R], task: T) -> R:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(function, task).result()
