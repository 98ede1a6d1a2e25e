"""The job `internlm2 trace`: a document's way through the stages of a run, and from documents to training and back."""

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import orjson
from internlm2_records.streams import open_binary
from rich.console import Console
from rich.table import Table

from internlm2_data.document import Document
from internlm2_data.io.shards import ShardReader

Fate = Literal["kept", "rewritten", "dropped"]


@dataclass(frozen=True)
class Step:
    """What one stage did.

    Attributes:
        stage: Its name.
        fate: What came of the document.
        notes: What its rules noted: rule, value, threshold, action.
        document: The document as it left the stage.
        file: The shard that holds it.
    """

    stage: str
    fate: Fate
    notes: Sequence[dict[str, Any]]
    document: Document
    file: Path

    def to_json(self) -> dict[str, Any]:
        """Without the text."""
        return {"stage": self.stage, "fate": self.fate, "notes": list(self.notes), "file": str(self.file)}


def trace(
    run: str | Path,
    id: str | None = None,
    show_text: bool = False,
    as_json: bool = False,
    step: int | None = None,
    row: int | None = None,
    batches: Callable[[], Any] | None = None,
) -> None:
    """Print a document's way through a run, or what a training run was given.

    Args:
        run: Folder that `internlm2 process` wrote, or that of a training run.
        id: The document's id or the beginning of it, or in a run of `internlm2 process` its URL. In a training run it
            prints the steps and rows that held a part of it.
        show_text: Print its first text, and what each stage changed in it.
        as_json: Print JSON instead.
        step: Step of a training run, from 1. Prints the documents of its batch, and where each comes from.
        row: Row of that batch, from 1. None takes all.
        batches: Makes what the training run was trained on.

    Raises:
        FileNotFoundError: If the folder is not one of a run.
        ValueError: If no document or more than one has this id, or neither id nor step is given.
    """
    if (id is None) == (step is None):
        raise ValueError(f"id={id} or step={step} must be given, and not both.")
    if batches is not None and (step is not None or (Path(run) / "training.json").is_file()):
        from internlm2_data.contamination.job import steps_of
        from internlm2_data.provenance import pieces_of, print_pieces, print_sights, sights_of

        if step is not None:
            print_pieces(pieces_of(batches(), step, row), as_json)
        elif id is not None:
            print_sights(sights_of(batches(), str(id), steps_of(Path(run))), as_json)
        return
    steps = find_steps(Path(run), str(id))
    if as_json:
        print(json.dumps([each.to_json() for each in steps], ensure_ascii=False))
        return
    _show(steps, show_text)


def find_steps(run: Path, wanted: str) -> list[Step]:
    """The steps of one document. See `trace`.

    Args:
        run: Folder of the run.
        wanted: The document's id or the beginning of it, or its URL.
    """
    stages = stage_names(run)
    steps: list[Step] = []
    for stage in stages:
        found = [*_find(run, stage, wanted, "kept"), *_find(run, stage, wanted, "dropped")]
        ids = sorted({step.document.id for step in found})
        if len(ids) > 1:
            raise ValueError(f"id={wanted} means {len(ids)} documents in {run}, such as {', '.join(ids[:5])}.")
        if ids:
            # An id beginning or a URL is ambiguous only at first: from here on, the document itself is followed.
            wanted = ids[0]
        # The same page may come twice in the input. Then one copy goes at deduplication and the other stays.
        steps += found
        if steps and not any(step.fate != "dropped" for step in found):
            break
    if not steps:
        raise ValueError(f"{run} holds no document with id={wanted}, which may also be a URL.")
    return steps


def stage_names(run: Path) -> list[str]:
    """Stages of a run in order.

    Raises:
        FileNotFoundError: If the folder is not one of a run.
    """
    funnel = run / "funnel.json"
    if not funnel.is_file():
        raise FileNotFoundError(f"{run} holds no finished run of `internlm2 process`: funnel.json is missing.")
    return [stage["stage"] for stage in json.loads(funnel.read_text("utf-8"))["stages"]]


def _show(steps: Sequence[Step], show_text: bool) -> None:
    """Print steps as a table."""
    console, first = Console(), steps[0].document
    console.print(f"{first.id}  {first.cell}  {first.url}", markup=False, highlight=False)
    table = Table()
    for column in ("stage", "fate", "rule", "value", "threshold", "bytes"):
        table.add_column(column)
    for step in steps:
        for note in step.notes or [{}]:
            limit, value = note.get("threshold", ""), note.get("value", "")
            kept = f" (kept: {note['kept']})" if "kept" in note else ""
            row = (
                step.stage,
                step.fate,
                note.get("rule", "") + kept,
                str(value),
                str(limit),
                str(step.document.num_bytes),
            )
            table.add_row(*row)
    console.print(table)
    if show_text:
        console.print(first.text, markup=False, highlight=False)
        for before, after in pairwise(steps):
            lines = difflib.unified_diff(
                before.document.text.splitlines(),
                after.document.text.splitlines(),
                before.stage,
                after.stage,
                lineterm="",
            )
            console.print("\n".join(lines), markup=False, highlight=False)


def _find(run: Path, stage: str, wanted: str, where: Literal["kept", "dropped"]) -> Iterator[Step]:
    folder, prefix = (run / stage, "") if where == "kept" else (run / "excluded", f"{stage}-")
    for path in sorted(folder.glob(f"{prefix}[0-9]*")):
        for document in _search(path, wanted):
            notes = [note for note in document.trail if note["stage"] == stage]
            rewritten = any(note["action"] == "rewrite" for note in notes)
            yield Step(
                stage, "dropped" if where == "dropped" else "rewritten" if rewritten else "kept", notes, document, path
            )


def _search(path: Path, wanted: str) -> Iterator[Document]:
    if path.suffix == ".parquet":
        yield from (document for document in ShardReader(path) if _is(document, wanted))
        return
    # Only lines that hold the words somewhere are parsed.
    needle = orjson.dumps(wanted)[1:-1]
    with open_binary(path) as lines:
        for line in lines:
            if needle in line and _is(document := Document.from_json(orjson.loads(line)), wanted):
                yield document


def _is(document: Document, wanted: str) -> bool:
    return document.id.startswith(wanted) or document.url == wanted
