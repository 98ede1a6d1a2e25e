"""What `internlm2 process` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from internlm2_data.executor import Executor


class Pipeline(Protocol):
    """A pipeline from inputs to a folder; run again, it does only what is not done."""

    def run(self, inputs: Sequence[str], output: Path, executor: Executor) -> None:
        """Run it.

        Raises:
            FileNotFoundError: for an input that is not there.
            ValueError: when the inputs hold nothing.
            RuntimeError: when shards failed; the others are done.
        """
        ...
