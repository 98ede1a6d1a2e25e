"""`pipeline=machine`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from internlm2_data.executor import Executor
from internlm2_data.miniature.machine.collect import collect
from internlm2_data.miniature.machine.planted import PlantedPages


@dataclass(frozen=True)
class MachinePipeline:
    """Collects this machine's own text.

    Attributes:
        web_bytes: Most bytes of HTML.
        prose_bytes: Most bytes of English prose.
        chinese_bytes: Most bytes of Chinese text.
        code_bytes: Most bytes of code.
        planted: Pages that filters should drop. They are made up.
    """

    web_bytes: int
    prose_bytes: int
    chinese_bytes: int
    code_bytes: int
    planted: PlantedPages = field(default_factory=PlantedPages)

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Takes no inputs."""
        collect(output, self.web_bytes, self.prose_bytes, self.chinese_bytes, self.code_bytes, self.planted)
