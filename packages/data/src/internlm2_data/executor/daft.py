"""Daft on a Ray cluster. Its native runner, to try it here, takes one task at a time. Needs the extra `cluster`."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from internlm2_data.executor.protocol import Failure, attempt

T = TypeVar("T")
R = TypeVar("R")


class DaftExecutor:
    """Runs tasks as rows of a Daft frame.

    Args:
        ray_address: Of a Ray cluster ("ray://head:10001", "auto"). None for the native runner.
        concurrency: Processes of the native runner, or workers on Ray. None leaves it to Daft.
        attempts: How often a task is tried before it counts as failed.
    """

    def __init__(self, ray_address: str | None = None, concurrency: int | None = None, attempts: int = 2) -> None:
        self.ray_address, self.concurrency, self.attempts = ray_address, concurrency, attempts

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Failure]:
        """See `Executor`."""
        if not tasks:
            return
        import daft

        # A process can have one runner only.
        if self.ray_address is not None and daft.get_or_infer_runner_type() != "ray":
            daft.set_runner_ray(self.ray_address)
        attempts = self.attempts

        @daft.func(return_dtype=daft.DataType.binary(), use_process=True, max_concurrency=self.concurrency)
        def work(packed: bytes) -> bytes:
            function, task = pickle.loads(packed)
            return pickle.dumps(attempt(function, task, attempts))

        packed = [pickle.dumps((function, task)) for task in tasks]
        frame = daft.from_pydict({"number": list(range(len(tasks))), "task": packed})
        if self.ray_address is not None:
            frame = frame.into_partitions(len(tasks))
        done: Any = frame.with_column("result", work(frame["task"])).select("number", "result").to_pydict()
        results = dict(zip(done["number"], done["result"], strict=True))
        for number in range(len(tasks)):
            yield pickle.loads(results[number])

    def close(self) -> None:
        """Nothing is held. The Ray cluster stays up."""
