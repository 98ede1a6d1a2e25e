"""Effective length: the longest at which a model still does as well as it must (RULER, arXiv 2404.06654)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

THRESHOLD = 0.856
"""RULER's: the score of Llama-2-7B at 4k tokens, over RULER's own tasks (arXiv 2404.06654, table 3)."""

Z = 1.96
"""Standard deviations of an interval that holds the true value 19 times in 20."""


def interval(scores: Sequence[float]) -> tuple[float, float]:
    """Wilson's interval of the mean of scores between 0 and 1. Of shares it is somewhat too wide, never too narrow.

    Args:
        scores: One a prompt.
    """
    count, mean = len(scores), sum(scores) / len(scores)
    middle = (mean + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(mean * (1 - mean) / count + Z * Z / (4 * count * count))
    return round(max(0.0, middle - half), 6), round(min(1.0, middle + half), 6)


def by_length(samples: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean score of each length with its interval.

    Args:
        samples: With ``length`` and ``score``.
    """
    found = {}
    for length in sorted({sample["length"] for sample in samples}):
        scores = [sample["score"] for sample in samples if sample["length"] == length]
        low, high = interval(scores)
        found[str(length)] = {"score": sum(scores) / len(scores), "low": low, "high": high}
    return found


def effective_length(lengths: Mapping[str, Mapping[str, float]], threshold: float) -> dict[str, int | None]:
    """The longest length whose score reaches a threshold, and the range in which chance lets it be.

    Args:
        lengths: See `by_length`.
        threshold: The score.

    Returns:
        ``tokens`` by the scores, ``low`` and ``high`` by the ends of their intervals. None where no length reaches it.
    """
    names = {"tokens": "score", "low": "low", "high": "high"}
    return {
        name: max((int(length) for length, each in lengths.items() if each[key] >= threshold), default=None)
        for name, key in names.items()
    }
