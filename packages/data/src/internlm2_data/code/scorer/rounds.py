"""The job `internlm2 code_scorer`: one more round of a scorer, or with a labeller all of them."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from internlm2_data.classifiers.training import Fit
from internlm2_data.code.scorer.fitting import TARGETS, Fitted, Trust, fit_scorer
from internlm2_data.code.scorer.labels import Labelled, read_labels, write_to_label
from internlm2_data.code.scorer.proposals import Row, by_rules, confident, second_looks
from internlm2_data.code.scorer.simulated import Labeller
from internlm2_data.document import Document
from internlm2_data.stages.manifest import write_json

PROPOSED, AGAIN, ROUND = "to_label.jsonl", "second_look.jsonl", "round.json"


@dataclass(frozen=True)
class Scorer:
    """Settings of all rounds. Arguments are those of `code_scorer`."""

    inputs: Sequence[str]
    labels: Sequence[str]
    output: Path
    rounds: int
    proposals: int
    precision: float
    trust: Trust
    folds: int
    fit: Fit | None
    kind: str
    labeller: Labeller | None

    def folder(self, number: int) -> Path:
        """Folder of a round."""
        return self.output / f"round-{number}"

    def done(self) -> list[int]:
        """Rounds that are done."""
        return [n for n in range(self.rounds + 1) if (self.folder(n) / ROUND).is_file()]

    def label_files(self) -> list[Path]:
        """Files with labels, the oldest first."""
        own = [self.folder(n) / name for n in self.done() for name in (PROPOSED, AGAIN)]
        return [*map(Path, self.labels), *(path for path in own if path.is_file())]

    def start(self) -> None:
        """Round 0: files for people to begin with."""
        drawing = by_rules(self.inputs, max(1, self.proposals // 3), "round 0")
        rows = [row for name in ("high", "moderate", "low") for row in drawing.drawn(name)]
        if not rows:
            raise ValueError(f"inputs={list(self.inputs)} hold no files of code, and there are no labels.")
        self.finish(0, rows, [], {"labels": 0, "documents": drawing.counts})

    def go_on(self, number: int) -> None:
        """A round that trains."""
        files, empty = read_labels(self.label_files())
        before = json.loads((self.folder(number - 1) / ROUND).read_text("utf-8")) if number - 1 in self.done() else None
        looks = sum(file.seen for file in files)
        if before is not None and looks == before.get("looks", 0):
            raise ValueError(
                f"No label is new: write high, moderate or low under `label` in {self.folder(number - 1) / PROPOSED}."
            )
        folder = self.folder(number)
        fitted = fit_scorer(files, self.precision, self.trust, self.folds, folder, self.fit)
        last = number == self.rounds
        again = second_looks(files, fitted)
        record: dict[str, Any] = {"labels": len(files), "looks": looks, "without_label": empty}
        rows: list[Row] = []
        if self.inputs and not last:
            known = [file.id for file in files]
            drawing = confident(self.inputs, fitted, known, max(1, self.proposals // 2), f"round {number}")
            rows = [row for name in ("high", "low") for row in drawing.drawn(name)]
            record["documents"] = drawing.counts
        folder.mkdir(parents=True, exist_ok=True)
        fitted.model.save(folder)
        card = self.card(number, files, fitted)
        write_json(folder / "card.json", card)
        self.finish(number, rows, again, record)
        _show(card)

    def card(self, number: int, files: Sequence[Labelled], fitted: Fitted) -> dict[str, Any]:
        """What the model is, and what is known of it."""
        return {
            "kind": self.kind,
            "targets": list(TARGETS),
            "round": number,
            "low": fitted.low,
            "high": fitted.high,
            "wanted_precision": self.precision,
            "trusted": [name for name, row in fitted.languages.items() if row["trusted"]],
            "trust": {"labels": self.trust.labels, "agreement": self.trust.agreement},
            "languages": fitted.languages,
            "labels": dict(Counter(file.label for file in files)),
            "labels_by": "people" if self.labeller is None else "SIMULATED",
        }

    def finish(self, number: int, rows: Sequence[Row], again: Sequence[Row], record: dict[str, Any]) -> None:
        """Write what people are asked, and last that the round is done."""
        folder = self.folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        for name, asked in ((PROPOSED, rows), (AGAIN, again)):
            answered = [(doc, {**about, **self.answer(doc, name == AGAIN)}) for doc, about in asked]
            write_to_label(folder / name, answered)
        write_json(folder / ROUND, {"round": number, **record, "proposed": len(rows), "second_looks": len(again)})

    def answer(self, document: Document, again: bool) -> dict[str, str]:
        """The labeller's word, nothing where people are to be asked."""
        return {} if self.labeller is None else {"label": self.labeller(document, again)}


def code_scorer(
    output: str | Path,
    inputs: Sequence[str] = (),
    labels: Sequence[str] = (),
    rounds: int = 3,
    proposals: int = 200,
    precision: float = 0.9,
    trust: Trust | None = None,
    folds: int = 5,
    fit: Fit | None = None,
    kind: str = "linear",
    labeller: Labeller | None = None,
) -> None:
    """Do the next round: train on all labels so far, and write down what people should look at.

    Without any label the first call proposes files to begin with, as round 0. Each call after it needs new labels.

    Args:
        output: Folder of the rounds. Each ``round-N`` holds a model with its card, and two files for people.
        inputs: Documents of type ``code`` to propose from, such as ``runs/code/dedup``.
        labels: Files with labels beside those of the rounds.
        rounds: How many times it is trained (report section 3.1.2: three).
        proposals: Files that a round proposes.
        precision: Share of right calls that the thresholds of high and low should reach.
        trust: When a language is trusted.
        folds: Parts of the labels, of which each is scored by a model of the others.
        fit: Fits a model. None for the linear one.
        kind: What the card says it is.
        labeller: Answers in place of people, named as simulated on the card. With it all rounds are done at once.

    Raises:
        ValueError: If there are no new labels or too few.
    """
    if rounds < 1 or folds < 3:
        raise ValueError(f"rounds={rounds} must be 1 or more, and folds={folds} 3 or more.")
    scorer = Scorer(
        inputs, labels, Path(output), rounds, proposals, precision, trust or Trust(), folds, fit, kind, labeller
    )
    while (number := max(scorer.done(), default=-1) + 1) <= rounds:
        if number == 0 and not labels:
            scorer.start()
        else:
            scorer.go_on(max(number, 1))
        if labeller is None:
            break
    _say(scorer)


def _show(card: dict[str, Any]) -> None:
    """Print what is known of each language."""
    table = Table(title=f"round {card['round']}: low below {card['low']:.3f}, high from {card['high']:.3f}")
    columns = ("high", "moderate", "low", "agreement", "trusted")
    for column in ("language", *columns):
        table.add_column(column, justify="left" if column == "language" else "right")
    for language, row in card["languages"].items():
        table.add_row(language, *(str(row[column]) for column in columns))
    Console().print(table)


def _say(scorer: Scorer) -> None:
    """Print what to do next."""
    last = max(scorer.done())
    folder = scorer.folder(last)
    record = json.loads((folder / ROUND).read_text("utf-8"))
    if record["proposed"]:
        print(f"{record['proposed']} files to label: {folder / PROPOSED}")
    if record["second_looks"]:
        print(f"{record['second_looks']} labels for a second look: {folder / AGAIN}")
    if last < scorer.rounds:
        told = "Write high, moderate or low under `label` there, and call the same command again"
        if not record["proposed"]:
            told = "No file is called high or low with confidence. Give more labels, labels=[FILE], in the same command"
        print(f"{told} for round {last + 1}.")
    if last > 0:
        print(f"Use it: internlm2 process pipeline=code pipeline.quality.scorer.model={folder} inputs=[...]")
