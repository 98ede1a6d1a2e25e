"""One run of a pipeline over a folder: stages, shards and manifests."""

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from internlm2_records.progress import LineProgress

from internlm2_data.executor import Executor, Failure
from internlm2_data.fingerprint import file_stamp, fingerprint
from internlm2_data.io.items import Fault, Passed
from internlm2_data.io.shards import ShardReader, ShardWriter
from internlm2_data.stages.funnel import reasons
from internlm2_data.stages.manifest import undone, write_json
from internlm2_data.stages.sieves import Sieve
from internlm2_data.stages.tally import Tally
from internlm2_data.stores import InputFile, size_of
from internlm2_data.stores.outputs import send, withdraw
from internlm2_data.tokens.encoding import TextEncoder

SHARD_BYTES = 4 << 20


@dataclass(frozen=True)
class Shard:
    """Files that are worked on together, and a fingerprint of all that made them."""

    files: tuple[InputFile, ...]
    made_by: str


@dataclass(frozen=True)
class SieveTask:
    """One shard of one stage."""

    stage: str
    sieve: Sieve
    shard: Shard
    kept: Path
    excluded: Path
    manifest: Path
    made_by: str
    counter: TextEncoder | None
    store: str | None


class StageRun:
    """Runs stages one after the other, each over the shards that the one before it left.

    Args:
        output: The folder of all stages.
        executor: Where shards are worked on.
        suffix: Format of shards, "jsonl.zst" or "parquet".
        counter: Counts the tokens of what every stage keeps. None counts none.
        store: Folder of a store to which shards are moved when they are finished. None keeps them here.
    """

    def __init__(
        self,
        output: Path,
        executor: Executor,
        suffix: Literal["jsonl.zst", "parquet"] = "jsonl.zst",
        counter: TextEncoder | None = None,
        store: str | None = None,
    ) -> None:
        self.output, self.executor, self.suffix, self.counter, self.store = output, executor, suffix, counter, store
        self.reports: list[dict[str, Any]] = []
        self._is_withdrawn = False
        output.mkdir(parents=True, exist_ok=True)
        (output / "excluded").mkdir(exist_ok=True)

    def sift(self, stage: str, sieve: Sieve, shards: Sequence[Shard]) -> list[Shard]:
        """Put shards through a sieve.

        Returns:
            The shards that it left.

        Raises:
            RuntimeError: If a shard failed twice. The others are done, and the next run does only the rest.
        """
        began, made_by = time.time(), fingerprint(stage, sieve, self.suffix, self.counter)
        tasks = [self._task(stage, sieve, number, shard, made_by) for number, shard in enumerate(shards)]
        earlier = [*(self.output / stage).glob("*"), *(self.output / "excluded").glob(f"{stage}-*")]
        earlier += (self.output / "_shards" / stage).glob("?????.json")
        remove_others(earlier, {path for task in tasks for path in (task.kept, task.excluded, task.manifest)})
        self.work(stage, do_sieve, undone(tasks))
        tally, seconds = Tally(), 0.0
        for task in tasks:
            manifest = json.loads(task.manifest.read_text("utf-8"))
            tally.add(Tally.from_json(manifest["tally"]))
            seconds += manifest["seconds"]
        report = {"stage": stage, **tally.to_json(), "not_configured": list(sieve.absent)}
        self.reports.append(report | {"core_seconds": round(seconds, 3), "seconds": round(time.time() - began, 3)})
        return [Shard((task.kept,), task.made_by) for task in tasks]

    def require_documents(self, inputs: Sequence[str]) -> None:
        """Refuse inputs without documents.

        Raises:
            ValueError: If the last stage found no document at all.
        """
        last = self.reports[-1]
        if not last["documents"] and not last["dropped"]:
            raise no_document(inputs, last["num_faults"], last["faults"], last["passed"])

    def work(self, stage: str, function: Any, tasks: Sequence[Any]) -> list[Any]:
        """Results of tasks in order, with a progress bar.

        Raises:
            RuntimeError: If tasks failed as often as the executor tries them.
        """
        results, failures = [], []
        if tasks and self.store and not self._is_withdrawn:
            withdraw(self.store)
            self._is_withdrawn = True
        with ExitStack() as stack:
            bar = stack.enter_context(LineProgress()) if tasks else None
            line = bar.add_task(stage, total=len(tasks)) if bar else None
            for task, result in zip(tasks, self.executor.map(function, tasks), strict=True):
                if isinstance(result, Failure):
                    failures.append(f"{getattr(task, 'shard', task)}: {result.what}")
                results.append(result)
                if bar is not None and line is not None:
                    bar.advance(line)
        if failures:
            (self.output / "failed.json").write_text(json.dumps({stage: failures}, indent=1), "utf-8")
            raise RuntimeError(
                f"{len(failures)} of {len(tasks)} shards of stage {stage} failed, the first with {failures[0]}. The "
                "others are done and stay. Mend it and run the same command again. All failures are in "
                f"{self.output / 'failed.json'}."
            )
        (self.output / "failed.json").unlink(missing_ok=True)
        return results

    def _task(self, stage: str, sieve: Sieve, number: int, shard: Shard, made_by: str) -> SieveTask:
        name = f"{number:05d}"
        return SieveTask(
            stage,
            sieve,
            shard,
            kept=self.output / stage / f"{name}.{self.suffix}",
            excluded=self.output / "excluded" / f"{stage}-{name}.{self.suffix}",
            manifest=self.output / "_shards" / stage / f"{name}.json",
            made_by=fingerprint(made_by, shard.made_by, number),
            counter=self.counter,
            store=self.store,
        )


def remove_others(found: Iterable[Path], wanted: Collection[Path]) -> None:
    """Remove what an earlier run with other inputs left: nothing may read it by mistake.

    Args:
        found: Files that are there.
        wanted: Files to keep.
    """
    for path in found:
        if path not in wanted:
            path.unlink()


def no_document(inputs: Sequence[str], count: int, faults: Sequence[Any], passed: Mapping[str, int]) -> ValueError:
    """The error of inputs in which there is nothing to work on, with what there is instead.

    Args:
        inputs: Inputs as they were named.
        count: Faults in all.
        faults: The first of them.
        passed: What was passed over, by reason.
    """
    first = f" The first of {count} faults: {faults[0]}." if faults else ""
    others = f" Passed over: {reasons(passed)}." if passed else ""
    return ValueError(f"inputs={list(inputs)} hold no document.{others}{first}")


def input_shards(files: Sequence[InputFile], shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """Group files, in order, into shards of about `shard_bytes`. A larger file is a shard of its own.

    Args:
        files: Files of the input.
        shard_bytes: Small files are grouped to shards of about this size.
    """
    groups: list[list[InputFile]] = []
    room = 0
    for path in files:
        size = shard_bytes if isinstance(path, Path) and path.is_dir() else size_of(path)
        if not groups or size > room:
            groups.append([])
            room = shard_bytes
        groups[-1].append(path)
        room -= size
    return [Shard(tuple(group), fingerprint([file_stamp(path) for path in group])) for group in groups]


def do_sieve(task: SieveTask) -> None:
    """Work on one shard: kept and excluded documents first, the manifest last."""
    began, tally = time.process_time(), Tally()
    with ShardWriter(task.kept) as kept, ShardWriter(task.excluded) as excluded:
        for sifted in task.sieve.sift(task.shard.files, task.stage):
            if isinstance(sifted, Fault):
                tally.fault(sifted)
                continue
            if isinstance(sifted, Passed):
                tally.skip(sifted)
                continue
            document, goes_on = sifted
            if goes_on:
                kept.add(document)
                tally.keep(document, task.stage)
            else:
                excluded.add(document)
                tally.drop(document)
    if task.counter is not None:
        _count_tokens(task.kept, task.counter, tally)
    if task.store is not None:
        for path in (task.kept, task.excluded):
            send(path, f"{task.store}/{path.parent.name}/{path.name}")
    seconds = time.process_time() - began
    write_json(task.manifest, {"made_by": task.made_by, "seconds": seconds, "tally": tally.to_json()})


def _count_tokens(path: Path, counter: TextEncoder, tally: Tally) -> None:
    """Count the tokens of a shard's documents, by cell."""
    documents = iter(ShardReader(path))
    while batch := list(islice(documents, 64)):
        for document, ids in zip(batch, counter.encode([d.text for d in batch]), strict=True):
            tally.tokens[document.cell] += len(ids)
