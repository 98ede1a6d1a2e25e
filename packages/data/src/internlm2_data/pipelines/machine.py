"""`pipeline=machine`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_data.executor import Executor
from internlm2_data.machine import collect


@dataclass(frozen=True)
class MachinePipeline:
    """Collects this machine's own text; the fields are caps in bytes of text."""

    web_bytes: int = 12_000_000
    prose_bytes: int = 16_000_000
    chinese_bytes: int = 20_000_000
    code_bytes: int = 12_000_000

    def run(self, inputs: Sequence[str], output: Path, executor: Executor) -> None:
        """See `Pipeline`; takes no inputs."""
        collect(output, self.web_bytes, self.prose_bytes, self.chinese_bytes, self.code_bytes)
