"""Pairs that a round adds: those that show a hacking pattern (fast path), and fresh labels (slow path)."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from internlm2_align.labelling.labels import Labels
from internlm2_align.preferences.comparison import Comparison, Judgement, judged
from internlm2_align.preferences.preference import Preference

SIDES = ("first", "second")


def fast_pairs(labels: Labels) -> list[Preference]:
    """Pairs whose rejected side shows a pattern, as the annotator has confirmed.

    A written pattern need only not be preferred: it is to be unlearned. So a tie counts for the reply without it.

    Args:
        labels: Of `fast_comparisons` and others.
    """
    pairs = []
    for comparison, judgement in _judged(labels, is_fast=True):
        clean = SIDES[comparison.meta["clean"]]
        if judgement.verdict == "tie" and comparison.meta["written"]:
            judgement = replace(judgement, verdict=clean, margin=0.0)  # type: ignore[arg-type]
        if judgement.verdict == clean and (pair := judged(comparison, judgement)):
            meta = {name: value for name, value in pair.meta.items() if name not in ("clean", "models")}
            pairs.append(replace(pair, source=f"fast path, {pair.source}", meta=meta))
    return pairs


def slow_pairs(labels: Labels) -> list[Preference]:
    """Pairs of replies of two models.

    Args:
        labels: Of `slow_comparisons` and others.
    """
    pairs = []
    for comparison, judgement in _judged(labels, is_fast=False):
        if pair := judged(comparison, judgement):
            first, second = comparison.meta["models"]
            origins = f"{first}>{second}" if judgement.verdict == "first" else f"{second}>{first}"
            meta = {name: value for name, value in pair.meta.items() if name != "models"} | {"origins": origins}
            pairs.append(replace(pair, source=f"slow path, {pair.source}", meta=meta))
    return pairs


def _judged(labels: Labels, is_fast: bool) -> list[tuple[Comparison, Judgement]]:
    asked = [each for each in labels.wanted().values() if ("pattern" in each.meta) == is_fast]
    return [(each, labels.judgements[each.id]) for each in asked if each.id in labels.judgements]


def wins(labels: Labels) -> dict[str, dict[str, float]]:
    """How often each model's reply was preferred over another model's, ties half.

    Args:
        labels: Of `slow_comparisons` and others.

    Returns:
        ``{MODEL: {"share", "comparisons"}}``.
    """
    points: Mapping[str, list[float]] = defaultdict(list)
    for comparison, judgement in _judged(labels, is_fast=False):
        first, second = comparison.meta["models"]
        if first != second and judgement.verdict != "skip":
            won = {"first": 1.0, "second": 0.0}.get(judgement.verdict, 0.5)
            points[first].append(won)
            points[second].append(1 - won)
    return {
        model: {"share": sum(found) / len(found), "comparisons": len(found)} for model, found in sorted(points.items())
    }
