"""The jobs that the command runs."""

from collections.abc import Sequence
from pathlib import Path

from internlm2_data.executor import Executor
from internlm2_data.pipelines.protocol import Pipeline
from internlm2_data.stores import is_remote
from internlm2_data.stores.outputs import publish, work_folder


def process(pipeline: Pipeline, inputs: Sequence[str], output: str | Path, executor: Executor) -> None:
    """Run a pipeline over inputs into a folder. A run that was killed resumes at the shard.

    Args:
        pipeline: Which one.
        inputs: Files, folders and glob patterns, here or in stores such as ``s3://bucket/crawl``.
        output: The folder. One in a store is worked on in a folder of this machine and copied when it is done.
        executor: Where shards are worked on.
    """
    folder = work_folder(str(output)) if is_remote(output) else Path(output)
    try:
        pipeline.run(list(inputs), folder, executor)
    finally:
        executor.close()
    if is_remote(output):
        publish(folder, str(output))
