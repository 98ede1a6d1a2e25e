"""Shingle sets of candidates on disk, for exact comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from internlm2_data.dedup.clusters import Rows, Shingles
from internlm2_data.dedup.records import is_code
from internlm2_data.dedup.settings import DedupSettings
from internlm2_data.dedup.sign_tasks import SignTask
from internlm2_data.dedup.signing import shingle_set
from internlm2_data.io.shards import ShardReader
from internlm2_data.stages.run import Shard


@dataclass(frozen=True)
class ShingleTask:
    """Writing the shingle sets of some rows of one shard."""

    shard: Shard
    rows: tuple[int, ...]
    ngram: int
    output: Path


def shingle_task(task: ShingleTask) -> None:
    """Write the sets end to end, with offsets."""
    wanted, sets = set(task.rows), []
    documents = (document for path in task.shard.files for document in ShardReader(path))
    for row, document in enumerate(documents):
        if row in wanted:
            sets.append(shingle_set(document.text, is_code(document), task.ngram))
    np.save(task.output, np.concatenate([np.empty(0, np.uint64), *sets]))
    np.save(f"{task.output}.offsets.npy", np.cumsum([0, *map(len, sets)]))


class ShingleStore:
    """Shingle sets on disk, read by memory map.

    Args:
        starts: First row of each shard, and the number of all rows.
        folder: Where to put the files.
    """

    def __init__(self, starts: Rows, folder: Path) -> None:
        self._starts, self._folder = starts, folder
        self._wanted: dict[int, Rows] = {}

    def tasks(self, rows: Rows, signed: Sequence[SignTask], settings: DedupSettings) -> list[ShingleTask]:
        """One task a shard that has rows to compare."""
        shard_of = np.searchsorted(self._starts, rows, side="right") - 1
        self._wanted = {int(s): rows[shard_of == s] - self._starts[s] for s in np.unique(shard_of)}
        return [
            ShingleTask(signed[s].shard, tuple(wanted.tolist()), settings.ngram, self._path(s))
            for s, wanted in self._wanted.items()
        ]

    def open(self) -> Shingles:
        """A function row -> sorted shingles."""
        data = {s: np.load(self._path(s), mmap_mode="r") for s in self._wanted}
        extents: dict[int, tuple[npt.NDArray[np.uint64], int, int]] = {}
        for s, wanted in self._wanted.items():
            offsets = np.load(f"{self._path(s)}.offsets.npy").tolist()
            for place, row in enumerate((wanted + self._starts[s]).tolist()):
                extents[row] = (data[s], offsets[place], offsets[place + 1])

        def shingles(row: int) -> npt.NDArray[np.uint64]:
            array, start, stop = extents[row]
            return np.asarray(array[start:stop])

        return shingles

    def _path(self, shard: int) -> Path:
        return self._folder / f"shingles-{shard:05d}.npy"
