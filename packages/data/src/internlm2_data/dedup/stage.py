"""The Dedup stage over shards."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from internlm2_records.progress import LineProgress

from internlm2_data.dedup.clusters import Removal, Rows, Shingles, resolve
from internlm2_data.dedup.records import ShardRecords
from internlm2_data.dedup.settings import DedupSettings
from internlm2_data.dedup.shingle_store import ShingleStore, shingle_task
from internlm2_data.dedup.sign_tasks import SignTask, sign_task, signed_before
from internlm2_data.fingerprint import fingerprint
from internlm2_data.io.shards import ShardReader
from internlm2_data.stages.manifest import is_done, undone, write_json
from internlm2_data.stages.run import Shard, StageRun, remove_others
from internlm2_data.stages.sieves import Sifted
from internlm2_data.stores import InputFile, is_remote
from internlm2_data.stores.outputs import work_folder
from internlm2_data.verdict import Drop, apply


@dataclass(frozen=True)
class Dedup:
    """Exact, URL and near-duplicate removal over all shards of a run.

    Attributes:
        settings: Thresholds.
        name: Of the stage and its folder.
        earlier: Folders of earlier runs, whose documents count too: what they kept already is not kept again, and what
            a newer dump has in a newer version is listed in `superseded.jsonl`. Their inputs to this stage must still
            be there.
    """

    settings: DedupSettings = field(default_factory=DedupSettings)
    name: str = "dedup"
    earlier: Sequence[str] = ()

    def run(self, run: StageRun, shards: Sequence[Shard]) -> list[Shard]:
        """Run it after the stage that left `shards`.

        Raises:
            FileNotFoundError: If a folder of ``earlier`` holds no run.
            ValueError: If an earlier run was signed with other settings.
        """
        folder = run.output / "_shards" / self.name
        tasks = [
            SignTask(shard, self.settings, folder / f"sign-{number:05d}.npz", fingerprint(self.settings, shard.made_by))
            for number, shard in enumerate(shards)
        ]
        # As `earlier` of another run, signatures of inputs that this one no longer has would count as documents.
        wanted = {path for task in tasks for path in (task.output, task.manifest, task.removals)}
        remove_others([*folder.glob("sign-*"), *folder.glob("removed-*")], wanted)
        past = [signed for name in self.earlier for signed in signed_before(_folder_of(name), self.name, self.settings)]
        all_of_it = fingerprint(self, [task.made_by for task in [*past, *tasks]])
        if not is_done(folder / "removals.json", all_of_it):
            (folder / "removals.json").unlink(missing_ok=True)
            run.work(f"{self.name}: sign", sign_task, undone(tasks))
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
        with LineProgress(has_bar=False) as progress:
            progress.add_task(f"{self.name}: resolve", total=None)
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


def _folder_of(name: str) -> Path:
    """The folder of a run on this machine, on which also those work whose output is in a store."""
    return work_folder(name.rstrip("/")) if is_remote(name) else Path(name)


def _describe(removal: Removal, records: ShardRecords) -> list[str | float]:
    return [removal.rule, removal.value, records.ids[removal.keeper].decode()]


@dataclass(frozen=True)
class DedupSieve:
    """Takes out the rows that were resolved to go."""

    settings: DedupSettings
    _folder: Path
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
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
