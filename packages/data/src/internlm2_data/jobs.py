"""The jobs that the command runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from internlm2_data.executor import Executor
from internlm2_data.pipelines.protocol import Pipeline


def process(pipeline: Pipeline, inputs: Sequence[str], output: str | Path, executor: Executor) -> None:
    """Run a pipeline over inputs into a folder; a run that was killed goes on at the shard.

    Args:
        pipeline: which one.
        inputs: files, folders and glob patterns.
        output: the folder.
        executor: where shards are worked on.
    """
    try:
        pipeline.run(list(inputs), Path(output), executor)
    finally:
        executor.close()
