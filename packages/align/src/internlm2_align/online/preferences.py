"""Pairs that a round adds: those that show a hacking pattern (fast path), and fresh labels (slow path)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from internlm2_align.labelling.labels import Labels
from internlm2_align.online.hacking import Pattern
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
    for comparison, judgement in _judged(labels, "clean"):
        clean = SIDES[comparison.meta["clean"]]
        if judgement.verdict == "tie" and comparison.meta["written"]:
            judgement = replace(judgement, verdict=clean, margin=0.0)  # type: ignore[arg-type]
        if judgement.verdict == clean and (pair := judged(comparison, judgement)):
            meta = {name: value for name, value in pair.meta.items() if name != "clean"}
            pairs.append(replace(pair, source=f"fast path, {pair.source}", meta=meta))
    return pairs


def slow_pairs(labels: Labels) -> list[Preference]:
    """Pairs of replies of two models.

    Args:
        labels: Of `slow_comparisons` and others.
    """
    pairs = []
    for comparison, judgement in _judged(labels, "models"):
        if pair := judged(comparison, judgement):
            first, second = comparison.meta["models"]
            origins = f"{first}>{second}" if judgement.verdict == "first" else f"{second}>{first}"
            meta = {name: value for name, value in pair.meta.items() if name != "models"} | {"origins": origins}
            pairs.append(replace(pair, source=f"slow path, {pair.source}", meta=meta))
    return pairs


def _judged(labels: Labels, key: str) -> list[tuple[Comparison, Judgement]]:
    asked = labels.comparisons.values()
    return [(each, labels.judgements[each.id]) for each in asked if key in each.meta and each.id in labels.judgements]


def confirmed(patterns: Sequence[Pattern], labels: Labels, most: float) -> list[Pattern]:
    """Patterns that an annotator who only compares does not value.

    Args:
        patterns: That late replies show more often, and that pay.
        labels: Of `fast_comparisons` and others.
        most: Most that the annotator may value them: replies with the pattern that it prefers, less those without that
            it prefers, as a share of the pairs that it judged. A pattern without such pairs is left out.

    Returns:
        The patterns with that share as ``judged_gain``.
    """
    gains: dict[tuple[str, str], list[int]] = defaultdict(list)
    for comparison, judgement in _judged(labels, "clean"):
        if judgement.verdict != "skip":
            lost = judgement.verdict == SIDES[comparison.meta["clean"]]
            won = judgement.verdict == SIDES[1 - comparison.meta["clean"]]
            gains[comparison.domain, comparison.meta["pattern"]].append(won - lost)
    found = []
    for pattern in patterns:
        gain = gains.get((pattern.domain, f"{pattern.kind}:{pattern.value}"))
        if gain and (mean := sum(gain) / len(gain)) <= most:
            found.append(replace(pattern, judged_gain=mean))
    return found


def wins(labels: Labels) -> dict[str, dict[str, float]]:
    """How often each model's reply was preferred over another model's, ties half.

    Args:
        labels: Of `slow_comparisons` and others.

    Returns:
        ``{MODEL: {"share", "comparisons"}}``.
    """
    points: Mapping[str, list[float]] = defaultdict(list)
    for comparison, judgement in _judged(labels, "models"):
        first, second = comparison.meta["models"]
        if first != second and judgement.verdict != "skip":
            won = {"first": 1.0, "second": 0.0}.get(judgement.verdict, 0.5)
            points[first].append(won)
            points[second].append(1 - won)
    return {
        model: {"share": sum(found) / len(found), "comparisons": len(found)} for model, found in sorted(points.items())
    }
