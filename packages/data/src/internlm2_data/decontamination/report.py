"""What was found: `matches.jsonl` and `contamination.json`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from internlm2_data.decontamination.index import ItemIndex
from internlm2_data.io.items import Fault
from internlm2_data.io.shards import ShardReader, dump_line
from internlm2_data.stages.funnel import show_faults
from internlm2_data.stages.manifest import write_json


def write_report(output: Path, stage: str, index: ItemIndex, faults: Sequence[Fault]) -> None:
    """Write both files and print a table: for each set its items, those found, and the documents that went.

    Args:
        output: Folder of the run.
        stage: Name of its stage.
        index: The items.
        faults: What could not be read of the evaluation files.
    """
    found: dict[str, set[str]] = {}
    documents: Counter[str] = Counter()
    part = output / "matches.jsonl.part"
    with part.open("wb") as file:
        for matches in _documents(output, stage):
            for match in matches:
                file.write(dump_line(match))
                found.setdefault(match["set"], set()).add(match["item"])
            documents.update({match["set"] for match in matches})
    part.replace(output / "matches.jsonl")
    sets = {
        name: counts | {"found": len(found.get(name, ())), "documents": documents[name]}
        for name, counts in _looked_for(index).items()
    }
    told = [fault.to_json() for fault in faults]
    write_json(output / "contamination.json", {"sets": sets, "num_faults": len(told), "faults": told[:100]})
    _show(sets, told)


def _documents(output: Path, stage: str) -> Iterator[list[dict[str, Any]]]:
    for path in sorted((output / "excluded").glob(f"{stage}-[0-9]*")):
        for document in ShardReader(path):
            about = {"document": document.id, "url": document.url, "cell": document.cell}
            yield [about | match for match in document.trail[-1]["matches"]]


def _looked_for(index: ItemIndex) -> dict[str, dict[str, int]]:
    """Items of each set, and how many are looked for by question, together with options and answer, and by answer."""
    sets: dict[str, dict[str, int]] = {}
    names = {"question": "by_question", "both": "by_question_and_answer", "answer": "by_answer"}
    for item in index.items:
        counts = sets.setdefault(item.set, {"items": 0, "too_short": 0, **dict.fromkeys(names.values(), 0)})
        counts["items"] += 1
    told = set()
    for part in index.parts:
        for number in part.items:
            sets[index.items[number].set][names[part.kind]] += 1
            told.add(number)
    for number, item in enumerate(index.items):
        sets[item.set]["too_short"] += number not in told
    return sets


def _show(sets: dict[str, dict[str, int]], faults: Sequence[dict[str, Any]]) -> None:
    table = Table(title="evaluation items in the inputs")
    for column in ("set", "items", "too short", "found", "documents"):
        table.add_column(column, justify="left" if column == "set" else "right")
    for name, counts in sorted(sets.items(), key=lambda entry: (-entry[1]["documents"], entry[0])):
        table.add_row(name, *(str(counts[key]) for key in ("items", "too_short", "found", "documents")))
    console = Console()
    console.print(table)
    show_faults(console, len(faults), faults)
