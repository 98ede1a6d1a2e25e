"""`pipeline=enhancement` (report section 3.3.3)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from internlm2_data.decontamination.items import ItemFields, read_items
from internlm2_data.executor import Executor
from internlm2_data.fingerprint import fingerprint
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.retrieval.bm25 import Bm25, Retriever
from internlm2_data.retrieval.mixture import Portion, chosen, mixture
from internlm2_data.retrieval.scoring import Scores, ScoreTask, score_task
from internlm2_data.retrieval.sieve import ChosenSieve, GivenSieve
from internlm2_data.stages.funnel import Funnel
from internlm2_data.stages.manifest import undone, write_json
from internlm2_data.stages.run import SHARD_BYTES, Shard, StageRun, input_shards
from internlm2_data.stores import local


@dataclass(frozen=True)
class EnhancementPipeline:
    """Chooses documents for the enhancement phase, into `retrieved/` and `given/`, and writes `mixture.json`.

    Attributes:
        portions: Portions of the mixture by name, which becomes the source of their documents.
        size_bytes: Bytes of text that the phase is to see.
        max_epochs: The most that a portion may be repeated.
        retriever: Scores documents.
        shards_together: Shards whose documents make one collection.
        shard_bytes: Small inputs are grouped to shards of about this size.
    """

    portions: Mapping[str, Portion]
    size_bytes: int
    max_epochs: float = 4.0
    retriever: Retriever = field(default_factory=Bm25)
    shards_together: int = 64
    shard_bytes: int = SHARD_BYTES

    def run(self, inputs: Sequence[str], output: Path, executor: Executor, store: str | None = None) -> None:
        """See `Pipeline`. Inputs are the corpus from which documents are retrieved."""
        if not self.portions:
            raise ValueError("portions={} must have one portion or more.")
        asked = {name: portion for name, portion in self.portions.items() if portion.queries}
        given = {
            file: name
            for name, portion in self.portions.items()
            if portion.inputs
            for file in expand_inputs(portion.inputs)
        }
        run, found = StageRun(output, executor, store=store), []
        if asked:
            shards = input_shards(expand_inputs(inputs), self.shard_bytes)
            folder = output / "_shards" / "choice"
            made_by = self._choose(run, shards, asked, folder)
            found += run.sift("retrieved", ChosenSieve(made_by, folder), shards)
            run.require_documents(inputs)
        if given:
            files = input_shards(list(given), 1)
            found += run.sift("given", GivenSieve({str(file): name for file, name in given.items()}), files)
            run.require_documents(list(map(str, given)))
        self._report(run, output)

    def _choose(self, run: StageRun, shards: Sequence[Shard], asked: Mapping[str, Portion], folder: Path) -> str:
        """Score all documents and note the choice, by shard. Returns its fingerprint."""
        queries = {name: _queries(portion) for name, portion in asked.items()}
        groups = [tuple(shards[i : i + self.shards_together]) for i in range(0, len(shards), self.shards_together)]
        tasks = [
            ScoreTask(
                group, self.retriever, queries, folder / f"scores-{number:05d}.npz",
                fingerprint(self.retriever, queries, [shard.made_by for shard in group]),
            )
            for number, group in enumerate(groups)
        ]  # fmt: skip
        run.work("scores", score_task, undone(tasks))
        scores = Scores.load([task.output for task in tasks])
        total = sum(portion.share for portion in self.portions.values())
        wanted = [self.size_bytes * portion.share / total for portion in asked.values()]
        of = chosen(scores.scores, scores.sizes, wanted, [portion.min_score for portion in asked.values()])
        names = [*asked, None]
        noted = np.where(of < 0, scores.scores.max(axis=1), scores.scores[np.arange(len(of)), of])
        for number, (start, stop) in enumerate(pairwise([0, *np.cumsum(scores.counts).tolist()])):
            portions = [names[portion] for portion in of[start:stop]]
            values = np.round(noted[start:stop].astype(float), 4).tolist()
            write_json(folder / f"{number}.json", {"portions": portions, "scores": values})
        write_json(folder / "shards.json", {str(shard.files[0]): str(number) for number, shard in enumerate(shards)})
        return fingerprint([task.made_by for task in tasks], wanted, [asked[name].min_score for name in asked])

    def _report(self, run: StageRun, output: Path) -> None:
        cells: dict[str, dict[str, int]] = {name: {} for name in self.portions}
        for report in run.reports:
            for cell, size in report["bytes"].items():
                cells[cell.partition("-")[2]][cell] = size
        funnel = Funnel(run.reports)
        funnel.write(output)
        funnel.show()
        shares = {name: portion.share for name, portion in self.portions.items()}
        (output / "mixture.json").unlink(missing_ok=True)
        record = mixture(cells, shares, self.size_bytes, self.max_epochs)
        write_json(output / "mixture.json", record)
        _show(record)


def _queries(portion: Portion) -> list[str]:
    """Lines of text files, and the questions of records."""
    files = [local(file) for file in expand_inputs(portion.queries)]
    plain = [path for path in files if path.suffix == ".txt"]
    lines = [line.strip() for path in plain for line in path.read_text("utf-8").splitlines()]
    items, faults = read_items([path for path in files if path not in plain], ItemFields())
    found = list(dict.fromkeys([*filter(None, lines), *(item.question for item in items)]))
    if faults or not found:
        first = f" The first of {len(faults)} faults: {faults[0].to_json()}." if faults else ""
        raise ValueError(f"queries={list(portion.queries)} must hold queries and nothing else.{first}")
    return found


def _show(record: dict[str, Any]) -> None:
    table = Table(title=f"mixture of {record['size_bytes'] / 1e6:.2f} MB, {record['largest_bytes'] / 1e6:.2f} at most")
    for column in ("portion", "share", "MB", "epochs"):
        table.add_column(column, justify="left" if column == "portion" else "right")
    for name, portion in record["portions"].items():
        row = (f"{portion['share']:.1%}", f"{portion['bytes'] / 1e6:.2f}", f"{portion['epochs']:.2f}")
        table.add_row(name, *row)
    console = Console()
    console.print(table)
    weights = json.dumps({cell: round(weight, 4) for cell, weight in record["weights"].items()})
    console.print(f"batches.weights={weights}", markup=False, highlight=False)
