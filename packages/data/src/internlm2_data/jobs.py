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
        output: The folder. For one in a store shards are worked on in a folder of this machine, and sent when they
            are finished.
        executor: Where shards are worked on.
    """
    store = str(output).rstrip("/") if is_remote(output) else None
    folder = work_folder(store) if store else Path(output)
    try:
        pipeline.run(list(inputs), folder, executor, store)
    finally:
        executor.close()
    if store:
        publish(folder, store)
