"""What `internlm2 process` runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from internlm2_data.executor import Executor


class Pipeline(Protocol):
    """A pipeline from inputs to a folder. Run again, it does only what is not done."""

    def run(self, inputs: Sequence[str], output: Path, executor: Executor) -> None:
        """Run it.

        Raises:
            FileNotFoundError: If an input is not there.
            ValueError: If the inputs hold nothing.
            RuntimeError: If shards failed. The others are done.
        """
