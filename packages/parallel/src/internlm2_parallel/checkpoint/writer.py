"""DCP's file writer, with checksums by every rank and an atomic end by the first."""

from collections.abc import Callable
from pathlib import Path

from torch.distributed.checkpoint.filesystem import FileSystemWriter
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future

from internlm2_parallel.checkpoint.folder import digest, draft_of, publish, write_durably


class AtomicWriter(FileSystemWriter):
    """Writes to the draft of ``target``. The coordinator publishes it once every rank has written.

    Args:
        target: Final folder.
        then: Called with ``target`` on the first rank after publication.
    """

    def __init__(self, target: Path, then: Callable[[Path], None] | None = None) -> None:
        super().__init__(draft_of(target))
        self.target, self.draft, self.then = target, draft_of(target), then

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write this rank's parts, and their checksums beside them."""
        written = super().write_data(plan, planner)
        for file in sorted({result.storage_data.relative_path for result in written.value()}):
            write_durably(self.draft / f"{file}.sha256", digest(self.draft / file))
        return written

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """On the coordinator: write the index, then publish."""
        super().finish(metadata, results)
        digests = {file.name.removesuffix(".sha256"): file.read_text() for file in self.draft.glob("*.sha256")}
        publish(self.draft, self.target, digests)
        if self.then is not None:
            self.then(self.target)
