"""The jobs that the command runs."""

from collections.abc import Sequence
from pathlib import Path

from internlm2_data.executor import Executor
from internlm2_data.pipelines.protocol import Pipeline


def process(pipeline: Pipeline, inputs: Sequence[str], output: str | Path, executor: Executor) -> None:
    """Run a pipeline over inputs into a folder. A run that was killed resumes at the shard.

    Args:
        pipeline: Which one.
        inputs: Files, folders and glob patterns.
        output: The folder.
        executor: Where shards are worked on.
    """
    try:
        pipeline.run(list(inputs), Path(output), executor)
    finally:
        executor.close()
