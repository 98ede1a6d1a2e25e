"""Labels, and what the reward model made of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from internlm2_records.report import Block, Cell, Chart, Column, Found, Line, Row, Table, Text

from internlm2_align.report.annotators import annotator_table, is_simulated, spoken_name

OUTCOMES = ("comparisons", "pairs", "ties", "both_bad", "skipped", "open")
SETS = {"train": "for training", "heldout": "held out"}
DOMAIN = (
    Column("accuracy", "bar", better="higher"),
    Column("pairs", "count"),
    Column("margin", digits=2, better="higher"),
    Column("calibration error", better="lower"),
)
CURVES = (("loss", "Ranking loss with penalty"), ("accuracy", "Accuracy on training pairs"))


def show_reward(found: Sequence[Found]) -> Iterator[Block]:
    """Who labelled how much, then accuracy by domain and slice, and the curves of the training."""
    for each in found:
        yield each.heading
        yield from _labels(each) if each.kind == "labels" else _model(each)


def _labels(each: Found) -> Iterator[Block]:
    figures = each.figures
    person = ", a program. No person has judged" if is_simulated(figures["annotator"]) else ""
    yield Text(f"Labelled by {spoken_name(figures['annotator'])}{person}.")
    if any("comparisons" in part for part in figures["sets"].values()):
        yield outcomes("What became of the comparisons", figures["sets"], each.simulated)
    yield from annotator_table(figures, each.simulated)


def outcomes(title: str, sets: Mapping[str, Mapping[str, Any]], simulated: bool) -> Table:
    """What became of comparisons, by set and domain.

    Args:
        title: Of the table.
        sets: Counts by name of the set, as the job ``label`` gives them.
        simulated: Whether the simulated annotator judged.
    """
    columns = [Column(name.replace("_", " "), "count") for name in (*OUTCOMES, "failed")]
    rows = []
    for name, counts in sets.items():
        rows.append(Row(SETS.get(name, name), _counts(counts), strong=True))
        rows += [Row(domain, _counts(own), level=1) for domain, own in counts.get("domains", {}).items()]
    return Table(title, "set", columns, rows, simulated=simulated)


def _counts(counts: Mapping[str, Any]) -> list[Any]:
    failed = counts.get("failed") or {}
    reasons = ", ".join(f"{reason} {count}" for reason, count in failed.items())
    return [*(counts.get(name) for name in OUTCOMES), Cell(sum(failed.values()), reasons)]


def _model(each: Found) -> Iterator[Block]:
    figures, held = each.figures, each.figures["heldout"]
    if not held:
        yield Text("Nothing was held out.", soft=True)
    else:
        conditions = "One model, a condition prompt for each domain." if figures["conditional"] else "No conditions."
        yield Text(
            f"{conditions} Accuracy on {held['pairs']:,} held-out pairs. The margin is the mean difference of scores. "
            "The calibration error is the gap between the probability that the model claims and how often it is right."
        )
        rows = [Row("mean of domains", _accuracy(held), strong=True)]
        for domain, part in (held.get("domains") or {}).items():
            rows.append(Row(domain, _accuracy(part)))
            rows += [Row(name, _accuracy(cut), level=1) for name, cut in part.get("slices", {}).items()]
        yield Table("Held-out pairs by domain", "domain", DOMAIN, rows, simulated=each.simulated)
    curve = figures.get("curve") or []
    for key, title in CURVES:
        points = [point for point in curve if key in point]
        line = Line(title, [point["step"] for point in points], [point[key] for point in points])
        yield Chart(title, [line], "optimizer steps", simulated=each.simulated)


def _accuracy(part: Mapping[str, Any]) -> list[Any]:
    return [part.get(name) for name in ("accuracy", "pairs", "margin", "calibration_error")]
