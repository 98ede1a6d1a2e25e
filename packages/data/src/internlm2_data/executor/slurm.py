"""Slurm, through arrays of submitit. Needs the extra `slurm`."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from internlm2_data.executor.protocol import Failure, attempt

T = TypeVar("T")
R = TypeVar("R")


class SlurmExecutor:
    """One array of jobs a stage. The command itself only waits, and may run on a login node.

    Args:
        folder: For logs and tasks, on a file system that all nodes see. So must be inputs and outputs.
        jobs: Tasks are spread over at most so many jobs of an array.
        attempts: How often a task is tried before it counts as failed.
        cluster: "slurm", or "local" to run the jobs here as processes.
        parameters: Of `submitit.AutoExecutor.update_parameters`: timeout_min, cpus_per_task, mem_gb, ...
    """

    def __init__(
        self,
        folder: str | Path,
        jobs: int = 256,
        attempts: int = 2,
        cluster: str = "slurm",
        parameters: dict[str, Any] | None = None,
    ) -> None:
        self.folder, self.jobs, self.attempts, self.cluster = Path(folder), jobs, attempts, cluster
        self.parameters = parameters or {}

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Failure]:
        """See `Executor`."""
        if not tasks:
            return
        import submitit

        executor = submitit.AutoExecutor(self.folder, cluster=self.cluster)
        executor.update_parameters(**self.parameters)
        bundles = [tasks[start :: self.jobs] for start in range(min(self.jobs, len(tasks)))]
        jobs = executor.map_array(partial(_attempt_each, function, self.attempts), bundles)
        # Results come in the order of tasks, task i from bundle i mod jobs.
        results = [_outcome(job, bundle) for job, bundle in zip(jobs, bundles, strict=True)]
        for number in range(len(tasks)):
            yield results[number % self.jobs][number // self.jobs]

    def close(self) -> None:
        """Nothing is held."""


def _attempt_each(function: Callable[[Any], Any], attempts: int, tasks: Sequence[Any]) -> list[Any]:
    return [attempt(function, task, attempts) for task in tasks]


def _outcome(job: Any, bundle: Sequence[Any]) -> list[Any]:
    try:
        return list(job.result())
    except Exception as error:
        # The job died (time limit, memory, node): which of its tasks were done, their manifests say at the next run.
        reason = (str(error).strip().splitlines() or [""])[-1]
        return [Failure(f"Slurm job {job.job_id}: {type(error).__name__}: {reason}")] * len(bundle)
