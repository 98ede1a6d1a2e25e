"""DCP's file writer, with checksums by every rank and an atomic end by the first.

Files have DCP's own format. They are written here since ``torch.save`` holds the interpreter's lock while bytes go to
the disk, which in a background thread stops training for seconds (torch 2.13). Here it writes what surrounds the bytes
of a tensor, and those follow by plain writes, which hold no lock.
"""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import DEFAULT_SUFFIX, FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import Metadata
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.distributed.checkpoint.utils import _create_file_view
from torch.futures import Future

from internlm2_parallel.checkpoint.folder import digest, draft_of, publish, write_durably

PIECE_BYTES = 2**24
"""What is written at once."""


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
        """Write this rank's parts into one file, and its checksum beside it."""
        name, written = f"{plan.storage_data.prefix}0{DEFAULT_SUFFIX}", list[WriteResult]()
        if plan.items:
            with (self.draft / name).open("wb+") as file:
                for item in plan.items:
                    start = file.tell()
                    write_part(file, planner.resolve_data(item))
                    length = file.tell() - start
                    written.append(WriteResult(item.index, length, _StorageInfo(name, start, length)))
                file.flush()
                os.fsync(file.fileno())
            write_durably(self.draft / f"{name}.sha256", digest(self.draft / name))
        done: Future[list[WriteResult]] = Future()
        done.set_result(written)
        return done

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """On the coordinator: write the index, then publish."""
        super().finish(metadata, results)
        digests = {file.name.removesuffix(".sha256"): file.read_text() for file in self.draft.glob("*.sha256")}
        publish(self.draft, self.target, digests)
        if self.then is not None:
            self.then(self.target)


def write_part(file: BinaryIO, part: io.BytesIO | Tensor) -> None:
    """Write one part of a checkpoint at the end of a file.

    Args:
        file: Open for reading and writing.
        part: Bytes, or a tensor, [...] of any dtype, which is written as ``torch.save`` does.
    """
    if isinstance(part, io.BytesIO):
        file.write(part.getbuffer())
        return
    whole = part.detach().cpu()
    if whole.untyped_storage().size() != whole.nbytes:  # else its whole storage would be written
        whole = whole.clone()
    start = file.tell()
    with torch.serialization.skip_data():
        torch.save(whole, file)
    if not whole.nbytes:
        return
    end = file.tell()
    view: Any = _create_file_view(file, start, end - start)  # type: ignore[arg-type]
    reader = torch._C.PyTorchFileReader(view)
    file.seek(start + reader.get_record_offset("data/0"))  # type: ignore[attr-defined]
    data = memoryview(torch.empty(0, dtype=torch.uint8).set_(whole.untyped_storage()).numpy())  # type: ignore[arg-type]
    for first in range(0, len(data), PIECE_BYTES):
        file.write(data[first : first + PIECE_BYTES])
    file.seek(end)
