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
from internlm2_data.fingerprint import describe, fingerprint
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
        earlier: folders of earlier runs, whose documents count too: what they kept already is not kept again, and what
            a newer dump has in a newer version is listed in `superseded.jsonl`. Their inputs to this stage must still
            be there.
    """

    settings: DedupSettings = field(default_factory=DedupSettings)
    name: str = "dedup"
    earlier: Sequence[str] = ()

    def run(self, run: StageRun, shards: Sequence[Shard]) -> list[Shard]:
        """Run it after the stage that left `shards`.

        Raises:
            FileNotFoundError: when a folder of `earlier` holds no run.
            ValueError: when an earlier run was signed with other settings.
        """
        folder = run.output / "_shards" / self.name
        tasks = [
            SignTask(shard, self.settings, folder / f"sign-{number:05d}.npz", fingerprint(self.settings, shard.made_by))
            for number, shard in enumerate(shards)
        ]
        past = [signed for name in self.earlier for signed in signed_before(Path(name), self.name, self.settings)]
        all_of_it = fingerprint(self, [task.made_by for task in [*past, *tasks]])
        if not is_done(folder / "removals.json", all_of_it):
            run.work(f"{self.name}: sign", sign_task, [t for t in tasks if not is_done(t.manifest, t.made_by)])
            self._resolve(run, past, tasks, all_of_it)
        sieve = DedupSieve(self.settings, folder)
        return run.sift(self.name, sieve, [Shard(s.files, fingerprint(all_of_it, s.made_by)) for s in shards])

    def _resolve(self, run: StageRun, past: Sequence[SignTask], tasks: Sequence[SignTask], made_by: str) -> None:
        everything, folder = [*past, *tasks], run.output / "_shards" / self.name
        records = ShardRecords.load([task.output for task in everything])
        counts = [json.loads(task.manifest.read_text("utf-8"))["documents"] for task in everything]
        starts = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

        def shingles_of(rows: Rows) -> Shingles:
            store = ShingleStore(starts, folder)
            run.work(f"{self.name}: compare", shingle_task, store.tasks(rows, everything, self.settings))
            return store.open()

        gone = [start + row for task, start in zip(past, starts, strict=False) for row in task.removed()]
        removals = resolve(records, self.settings, shingles_of, gone)
        for path in folder.glob("shingles-*"):
            path.unlink()
        own = int(starts[len(past)])
        self._supersede(run.output, records, [removal for removal in removals if removal.row < own])
        for task, start, stop in zip(tasks, starts[len(past) :], starts[len(past) + 1 :], strict=False):
            inside = [removal for removal in removals if start <= removal.row < stop]
            write_json(task.removals, {str(removal.row - start): _describe(removal, records) for removal in inside})
        write_json(folder / "removals.json", {"made_by": made_by, "removals": len(removals)})

    @staticmethod
    def _supersede(output: Path, records: ShardRecords, removals: Sequence[Removal]) -> None:
        path = output / "superseded.jsonl"
        path.unlink(missing_ok=True)
        if removals:
            names = ("rule", "value", "kept")
            lines = [
                json.dumps({"id": records.ids[r.row].decode(), **dict(zip(names, _describe(r, records), strict=True))})
                for r in removals
            ]
            path.write_text("\n".join(lines) + "\n", "utf-8")


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

    @property
    def removals(self) -> Path:
        """Where the rows stand that go."""
        return self.output.with_name(self.output.stem.replace("sign", "removed") + ".json")

    def removed(self) -> list[int]:
        """The rows that went."""
        return [int(row) for row in json.loads(self.removals.read_text("utf-8"))]


def sign_task(task: SignTask) -> None:
    """Sign a shard; the manifest last."""
    records = sign_shard(task.shard.files, task.settings)
    records.save(task.output)
    about = {"files": [str(path.absolute()) for path in task.shard.files], "settings": describe(task.settings)}
    write_json(task.manifest, {"made_by": task.made_by, "documents": len(records.sizes), **about})


def signed_before(run: Path, stage: str, settings: DedupSettings) -> list[SignTask]:
    """What an earlier run signed.

    Raises:
        FileNotFoundError: when there is none.
        ValueError: when its settings differ.
    """
    folder = run / "_shards" / stage
    if not (folder / "removals.json").is_file():
        raise FileNotFoundError(f"{run} holds no finished stage {stage}: set pipeline.dedup.earlier to folders of runs")
    found = []
    for path in sorted(folder.glob("sign-*.json")):
        manifest = json.loads(path.read_text("utf-8"))
        if manifest["settings"] != describe(settings):
            raise ValueError(
                f"{run} was deduplicated with {manifest['settings']}, this run with {describe(settings)}: set "
                f"pipeline.dedup.settings to the same, or deduplicate the earlier run again"
            )
        shard = Shard(tuple(map(Path, manifest["files"])), manifest["made_by"])
        found.append(SignTask(shard, settings, path.with_suffix(".npz"), manifest["made_by"]))
    return found


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
