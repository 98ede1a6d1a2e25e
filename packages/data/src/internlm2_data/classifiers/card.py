"""Choosing a threshold, and saying how well a classifier does with it."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.float64]
Side = Literal["above", "below"]


def choose_threshold(scores: Numbers, dropped: npt.NDArray[np.bool_], side: Side, precision: float) -> float:
    """The threshold that drops most of what should go while at least `precision` of what it drops should.

    Where no threshold is that precise, the one with the best F1.

    Args:
        scores: Of the validation texts.
        dropped: Whether each should be dropped.
        side: Whether scores above or below the threshold are dropped.
        precision: Share of right drops that is wanted.

    Raises:
        ValueError: If the validation texts are all of one kind.
    """
    if dropped.all() or not dropped.any():
        raise ValueError(
            "The validation texts are all good or all bad. A threshold needs both, so more labels are needed."
        )
    sign = 1.0 if side == "above" else -1.0
    order = np.argsort(-sign * scores, kind="stable")
    right, taken = np.cumsum(dropped[order]), np.arange(1, len(order) + 1)
    # Only where the next score differs can a threshold lie.
    ends = np.r_[np.flatnonzero(np.diff(scores[order]) != 0), len(order) - 1]
    precise, found = right[ends] / taken[ends], right[ends] / dropped.sum()
    good = precise >= precision
    f1 = 2 * precise * found / np.maximum(precise + found, 1e-9)
    best = int(np.argmax(np.where(good, found, -1))) if good.any() else int(np.argmax(f1))
    last = scores[order[ends[best]]]
    following = scores[order[ends[best] + 1]] if ends[best] + 1 < len(order) else last - sign * 1e-6
    return float((last + following) / 2)


def figures(scores: Numbers, dropped: npt.NDArray[np.bool_], side: Side, threshold: float) -> dict[str, Any]:
    """Number of texts, share to be dropped, precision, recall and F1 of dropping, and average precision.

    Args:
        scores: Scores of the texts, [texts].
        dropped: Whether each text is to be dropped, [texts].
        side: On which side of the threshold texts are dropped.
        threshold: The threshold.
    """
    said = scores > threshold if side == "above" else scores < threshold
    right = int((said & dropped).sum())
    precision = right / said.sum() if said.any() else 0.0
    recall = right / dropped.sum() if dropped.any() else 0.0
    return {
        "texts": len(scores),
        "to_drop": int(dropped.sum()),
        "precision": round(float(precision), 4),
        "recall": round(float(recall), 4),
        "f1": round(float(2 * precision * recall / (precision + recall)) if right else 0.0, 4),
        "average_precision": round(average_precision(scores if side == "above" else -scores, dropped), 4),
    }


def average_precision(scores: Numbers, positive: npt.NDArray[np.bool_]) -> float:
    """Mean precision at each positive, in the order of falling scores.

    Args:
        scores: Scores of the texts, [texts].
        positive: Which texts are positive, [texts].
    """
    if not positive.any():
        return 0.0
    hits = positive[np.argsort(-scores, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def by_language(
    languages: Sequence[str], scores: Numbers, dropped: npt.NDArray[np.bool_], side: Side, threshold: float
) -> dict[str, Any]:
    """Figures of all texts and of each language that has twenty or more.

    Args:
        languages: Language of each text.
        scores: Scores of the texts, [texts].
        dropped: Whether each text is to be dropped, [texts].
        side: On which side of the threshold texts are dropped.
        threshold: The threshold.
    """
    found = {"all": figures(scores, dropped, side, threshold)}
    for language in sorted(set(languages)):
        mask = np.array([name == language for name in languages])
        if mask.sum() >= 20:
            found[language] = figures(scores[mask], dropped[mask], side, threshold)
    return found
