"""All cores of this machine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from internlm2_data.executor.protocol import Failure

T = TypeVar("T")
R = TypeVar("R")


class LocalExecutor:
    """Worker processes on this machine.

    Args:
        workers: number of processes; 0 works in this one, None takes as many as there are cores to use.
        attempts: how often a task is tried before it counts as failed.
    """

    def __init__(self, workers: int | None = None, attempts: int = 2) -> None:
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        self.attempts = attempts
        self._pool: ProcessPoolExecutor | None = None

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Failure]:
        """See `Executor`."""
        if self.workers < 1 or len(tasks) < 2:
            for task in tasks:
                yield self._here(function, task, self.attempts)
            return
        futures: list[Future[R]] = [self._submit(function, task) for task in tasks]
        for future, task in zip(futures, tasks, strict=True):
            result: R | Failure = self._result(future, function, task)
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

    def _result(self, future: Future[R], function: Callable[[T], R], task: T) -> R | Failure:
        error: BaseException | None = None
        for attempt in range(self.attempts):
            try:
                return future.result() if attempt == 0 else self._submit(function, task).result()
            except BrokenProcessPool as broken:
                # A worker died (memory, segmentation fault) and took the pool along, with tasks that did no wrong.
                error, self._pool = broken, None
            except Exception as failed:
                error = failed
        return Failure(f"{type(error).__name__}: {error}")

    @staticmethod
    def _here(function: Callable[[T], R], task: T, attempts: int) -> R | Failure:
        for attempt in range(attempts):
            try:
                return function(task)
            except Exception as error:
                if attempt + 1 == attempts:
                    return Failure(f"{type(error).__name__}: {error}")
        raise AssertionError(attempts)
