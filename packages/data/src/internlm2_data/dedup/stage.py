"""The Dedup stage over shards."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from internlm2_data.dedup.clusters import Removal, Rows, Shingles, resolve
from internlm2_data.dedup.records import ShardRecords, is_code, sign_shard
from internlm2_data.dedup.settings import DedupSettings
from internlm2_data.dedup.signing import shingle_set
from internlm2_data.fingerprint import fingerprint
from internlm2_data.io.shards import ShardReader
from internlm2_data.stages.manifest import is_done, write_json
from internlm2_data.stages.run import Shard, StageRun
from internlm2_data.stages.sieves import Sifted
from internlm2_data.verdict import Drop, apply


@dataclass(frozen=True)
class Dedup:
    """Exact, URL and near-duplicate removal over all shards of a run.

    Attributes:
        settings: thresholds.
        name: of the stage and its folder.
    """

    settings: DedupSettings = field(default_factory=DedupSettings)
    name: str = "dedup"

    def run(self, run: StageRun, shards: Sequence[Shard]) -> list[Shard]:
        """Run it after the stage that left `shards`."""
        folder = run.output / "_shards" / self.name
        tasks = [
            SignTask(shard, self.settings, folder / f"sign-{number:05d}.npz", fingerprint(self, shard.made_by))
            for number, shard in enumerate(shards)
        ]
        all_of_it = fingerprint([task.made_by for task in tasks])
        if not is_done(folder / "removals.json", all_of_it):
            run.work(f"{self.name}: sign", sign_task, [t for t in tasks if not is_done(t.manifest, t.made_by)])
            self._resolve(run, tasks, folder, all_of_it)
        sieve = DedupSieve(self.settings, folder)
        return run.sift(self.name, sieve, [Shard(s.files, fingerprint(all_of_it, s.made_by)) for s in shards])

    def _resolve(self, run: StageRun, tasks: Sequence[SignTask], folder: Path, made_by: str) -> None:
        records = ShardRecords.load([task.output for task in tasks])
        counts = [json.loads(task.manifest.read_text())["documents"] for task in tasks]
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

        def shingles_of(rows: Rows) -> Shingles:
            store = ShingleStore(starts, folder)
            run.work(f"{self.name}: compare", shingle_task, store.tasks(rows, tasks, self.settings))
            return store.open()

        removals = resolve(records, self.settings, shingles_of)
        for path in folder.glob("shingles-*"):
            path.unlink()
        for number, start in enumerate(starts[:-1].tolist()):
            inside = [r for r in removals if start <= r.row < starts[number + 1]]
            rows = {str(r.row - start): _describe(r, records) for r in inside}
            write_json(folder / f"removed-{number:05d}.json", rows)
        write_json(folder / "removals.json", {"made_by": made_by, "removals": len(removals)})


def _describe(removal: Removal, records: ShardRecords) -> list[str | float]:
    return [removal.rule, removal.value, records.ids[removal.keeper].decode()]


@dataclass(frozen=True)
class SignTask:
    """Signing one shard."""

    shard: Shard
    settings: DedupSettings
    output: Path
    made_by: str

    @property
    def manifest(self) -> Path:
        """Where it is written that this was done."""
        return self.output.with_suffix(".json")


def sign_task(task: SignTask) -> None:
    """Sign a shard; the manifest last."""
    records = sign_shard(task.shard.files, task.settings)
    records.save(task.output)
    write_json(task.manifest, {"made_by": task.made_by, "documents": len(records.sizes)})


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
        starts: first row of each shard, and the number of all rows.
        folder: where to put the files.
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


@dataclass(frozen=True)
class DedupSieve:
    """Takes out the rows that were resolved to go."""

    settings: DedupSettings
    _folder: Path
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[Path], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        number = int(files[0].name.split(".")[0])
        removed = json.loads((self._folder / f"removed-{number:05d}.json").read_text("utf-8"))
        documents = (document for path in files for document in ShardReader(path))
        for row, document in enumerate(documents):
            if (reason := removed.get(str(row))) is None:
                yield document, True
                continue
            rule, value, keeper = reason
            dropped = apply(Drop(rule, value, self.settings.threshold), document, stage)
            dropped.trail[-1]["kept"] = keeper
            yield dropped, False
