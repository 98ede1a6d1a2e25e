"""What became of planted documents, whose sources are "planted-KIND"."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from internlm2_records.report import Column, Row

SOURCE = "planted"
"""What the sources of planted documents begin with."""
PLANTED = (Column("pages", "count"), Column("dropped", "bar"), Column("by", "text", compared=False))


def planted_rows(stages: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Of each kind of planted pages how many came, and what dropped them."""
    came: Counter[str] = Counter()
    dropped: dict[str, Counter[str]] = {}
    for stage in stages:
        if stage is stages[0]:
            came = _planted(stage["documents"])
        for rule, cells in stage["dropped"].items():
            for kind, count in _planted(cells).items():
                dropped.setdefault(kind, Counter())[rule] += count
    return [
        Row(kind, [count, of.total() / count, ", ".join(f"{rule} {n:,}" for rule, n in of.most_common()) or None])
        for kind, count in sorted(came.items())
        for of in [dropped.get(kind, Counter())]
    ]


def _planted(cells: Mapping[str, int]) -> Counter[str]:
    """Counts by kind of the cells of planted documents, "en-planted-toxicity"."""
    found: Counter[str] = Counter()
    for cell, count in cells.items():
        if f"-{SOURCE}-" in cell:
            found[cell.split(f"-{SOURCE}-", 1)[1]] += count
    return found
