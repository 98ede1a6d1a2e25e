"""The job `internlm2 threshold`: what a threshold would drop, and the documents nearest to it (report 3.1.3)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from internlm2_data.document import Document
from internlm2_data.io.shards import ShardReader
from internlm2_data.page import Page
from internlm2_data.rules.table import MEASURES

QUANTILES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995)
EXCERPT = 240


@dataclass(frozen=True, slots=True)
class Case:
    """One document under a rule.

    Attributes:
        value: What was measured.
        id: Of the document.
        url: Of the document.
        bytes: Of its text.
        excerpt: The text about the place that the value is from, or its beginning.
    """

    value: float
    id: str
    url: str
    bytes: int
    excerpt: str


def threshold(
    folder: str | Path, rule: str, at: float | None = None, cell: str | None = None, cases: int = 3
) -> dict[str, float]:
    """Print what thresholds of a rule would drop, and with `at` the documents on both sides of it.

    Args:
        folder: Folder of a stage, such as ``runs/long/scores``.
        rule: Name of a measure ("long.connectives"), or of a score that a stage noted ("perplexity.gain").
        at: The threshold to look at.
        cell: Only documents of this cell ("en-books") or language ("en").
        cases: Documents to show on each side.

    Returns:
        Share of the documents below each of the thresholds printed, by threshold.

    Raises:
        FileNotFoundError: If the folder is not there.
        ValueError: If no document has a value.
    """
    if not Path(folder).is_dir():
        raise FileNotFoundError(f"folder={folder} is not a folder of a stage.")
    found = sorted(_cases(Path(folder), rule, cell), key=lambda case: (case.value, case.id))
    if not found:
        raise ValueError(
            f"rule={rule} has a value for no document of {folder}. It must be one of {', '.join(MEASURES)}, or a score "
            "that the stage noted."
        )
    console = Console()
    values = np.array([case.value for case in found])
    limits = [at] if at is not None else [float(value) for value in np.unique(np.quantile(values, QUANTILES))]
    shares = _table(console, rule, found, limits)
    if at is not None:
        below = int(np.searchsorted(values, at))
        _show(console, "below, from the nearest", found[max(0, below - cases) : below][::-1])
        _show(console, "at or above, from the nearest", found[below : below + cases])
    return shares


def _cases(folder: Path, rule: str, cell: str | None) -> Iterator[Case]:
    measure = MEASURES.get(rule)
    for path in sorted(folder.glob("[0-9]*")):
        for document in ShardReader(path):
            if cell not in (None, document.cell, document.language):
                continue
            if (value := _value(document, rule, measure)) is not None:
                yield Case(*value[:1], document.id, document.url, document.num_bytes, _excerpt(document, value[1]))


def _value(document: Document, rule: str, measure: Callable[[Page], float] | None) -> tuple[float, int | None] | None:
    """The value, and the place that it is from."""
    if measure is not None:
        return float(measure(Page(document))), None
    notes = [note for note in document.trail if note.get("rule") == rule and isinstance(note.get("value"), int | float)]
    return (float(notes[-1]["value"]), notes[-1].get("place")) if notes else None


def _excerpt(document: Document, place: int | None) -> str:
    if place is None:
        return document.text[: 2 * EXCERPT]
    return f"{document.text[max(0, place - EXCERPT) : place]} [|] {document.text[place : place + EXCERPT]}"


def _table(console: Console, rule: str, found: Sequence[Case], limits: Sequence[float]) -> dict[str, float]:
    values = np.array([case.value for case in found])
    sizes = np.concatenate([[0], np.cumsum([case.bytes for case in found])])
    table = Table(title=f"{rule}: {len(found)} documents, {sizes[-1] / 1e6:.2f} MB")
    for column in ("threshold", "documents below", "MB below", "documents at or above"):
        table.add_column(column, justify="right")
    shares = {}
    for limit in limits:
        below = int(np.searchsorted(values, limit))
        share = below / len(found)
        shares[f"{limit:.4g}"] = share
        size = f"{sizes[below] / 1e6:.2f} ({sizes[below] / max(1, sizes[-1]):.1%})"
        table.add_row(f"{limit:.4g}", f"{below} ({share:.1%})", size, f"{len(found) - below} ({1 - share:.1%})")
    console.print(table)
    return shares


def _show(console: Console, title: str, cases: Sequence[Case]) -> None:
    console.rule(f"{title}: {len(cases)}")
    for case in cases:
        console.print(f"{case.value:.4g}  {case.id}  {case.bytes} bytes  {case.url}", markup=False, highlight=False)
        console.print(" ".join(case.excerpt.split()), markup=False, highlight=False, style="dim")
