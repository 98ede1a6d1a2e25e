"""Where shards are worked on. The only module that knows how work is spread.

A stage hands over a function and its tasks, one a shard. Results come back in the order of the tasks, whatever the
number of workers, and a task that fails twice comes back as a `Failure` instead of ending the others.
"""

from internlm2_data.executor.daft import DaftExecutor
from internlm2_data.executor.local import LocalExecutor
from internlm2_data.executor.protocol import Executor, Failure
from internlm2_data.executor.slurm import SlurmExecutor

__all__ = ["DaftExecutor", "Executor", "Failure", "LocalExecutor", "SlurmExecutor"]
