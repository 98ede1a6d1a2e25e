"""Who labelled what, and how far annotators agree."""

from collections.abc import Iterator, Mapping
from typing import Any

from internlm2_records.report import Block, Column, Row, Table

COLUMNS = (
    Column("judgements", "count"),
    Column("share", "bar"),
    Column("gold questions", "count"),
    Column("right in gold", "share", better="higher"),
)
SIMULATED = "Simulated"
"""What names of annotators begin with that are programs in place of people."""


def is_simulated(name: str | None) -> bool:
    """Whether an annotator's name says that it is a program in place of people."""
    return name is not None and name.startswith(SIMULATED)


def spoken_name(name: str) -> str:
    """An annotator's name in a sentence."""
    return "the simulated annotator" if is_simulated(name) else name


def annotator_table(figures: Mapping[str, Any], simulated: bool) -> Iterator[Block]:
    """Judgements of each annotator, gold questions, and agreement where a comparison was judged twice.

    Args:
        figures: ``annotators``, and where they are known ``gold`` and ``agreement`` (see `internlm2_align.people`).
        simulated: Whether the simulated annotator judged.
    """
    counts, gold = figures.get("annotators") or {}, figures.get("gold") or {}
    if not counts:
        return
    total = sum(counts.values())
    rows = []
    for name, count in sorted(counts.items(), key=lambda item: -item[1]):
        asked = gold.get(name) or {"judged": 0, "right": 0}
        right = asked["right"] / asked["judged"] if asked["judged"] else None
        rows.append(Row(name, [count, count / total if total else None, asked["judged"], right]))
    yield Table("Who labelled", "annotator", COLUMNS, rows, simulated=simulated)
    yield from agreement_table(figures.get("agreement"), simulated)


def agreement_table(people: Mapping[str, Any] | None, simulated: bool) -> Iterator[Block]:
    """Agreement of people who judged the same comparisons.

    Args:
        people: Figures of `internlm2_align.people.figures`, or None where nobody judged a comparison twice.
        simulated: Whether the simulated annotator judged.
    """
    if not people or not people.get("judged_twice"):
        return
    columns = [Column("Krippendorff's alpha", better="higher"), Column("judged twice or more", "count")]
    rows = [Row("all", [people["alpha"], people["judged_twice"]], strong=True)]
    rows += [Row(name, [own["alpha"], own["judged_twice"]]) for name, own in people["domains"].items()]
    note = "1 is full agreement, 0 what chance would give."
    yield Table("Agreement", "domain", columns, rows, note, simulated)
    pairs = [Row(" and ".join(pair["annotators"]), [pair["kappa"], pair["both"]]) for pair in people.get("kappa") or ()]
    if pairs:
        columns = [Column("Cohen's kappa", better="higher"), Column("judged by both", "count")]
        yield Table("Agreement of two", "annotators", columns, pairs, simulated=simulated)
