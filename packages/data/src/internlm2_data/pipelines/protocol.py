"""What `internlm2 process` runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from internlm2_data.executor import Executor


class Pipeline(Protocol):
    """A pipeline from inputs to a folder. Run again, it does only what is not done."""

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """Run it.

        Args:
            inputs: Files, folders and patterns.
            output: The folder.
            executor: Where shards are worked on.
            store: Folder of a store. A pipeline moves its shards there as they are finished, see
                `internlm2_data.stores.outputs`. What stays in `output` comes there at the end.

        Raises:
            FileNotFoundError: If an input is not there.
            ValueError: If the inputs hold nothing.
            RuntimeError: If shards failed. The others are done.
        """
