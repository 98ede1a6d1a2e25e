"""Figures of a reward model on held-out pairs, by domain and by slices of a domain.

A pair belongs to its domain, and to each slice named in its ``meta["slices"]``, e.g. ``conflicting`` for questions that
two domains answer differently. ``opposed`` are pairs that another domain has the other way round: whoever does not know
the domain can be right about one of the two only. ``hard`` and ``easy`` come from ``meta["score_gap"]`` where the
slices of a pair name neither.
"""

import statistics
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import torch

from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.metrics import HISTOGRAM_EDGES, PairMetrics


def pair_figures(
    pairs: Sequence[Preference], scores: Sequence[tuple[float, float]], hard_gap: float | None = None
) -> dict[str, Any]:
    """Accuracy, margin and calibration of scored pairs.

    Args:
        pairs: The pairs.
        scores: Of the chosen and the rejected reply of each.
        hard_gap: Pairs whose ``meta["score_gap"]`` is below it are hard, others easy. None takes the median of each
            domain's pairs.

    Returns:
        ``{"pairs", "accuracy", "margin", "calibration_error", "domains": {name: the same + "histogram" + "hard_gap" +
        "slices"}}``. The figures at the top are plain means over domains. ``hard_gap`` is None where no pair was told
        hard or easy by it.
    """
    places = {domain: [i for i, pair in enumerate(pairs) if pair.domain == domain] for domain in _domains(pairs)}
    domains = {domain: _figures(scores, rows) for domain, rows in places.items()}
    slices = _slices(pairs)
    for domain, rows in places.items():
        gaps = {i: float(pairs[i].meta["score_gap"]) for i in rows if _wants_gap(pairs[i])}
        threshold = _median_gap(gaps.values()) if hard_gap is None else hard_gap
        domains[domain]["hard_gap"] = threshold if gaps else None
        if threshold is not None:
            for i, gap in gaps.items():
                slices[i].append("hard" if gap < threshold else "easy")
        domains[domain]["slices"] = {
            name: _figures(scores, [i for i in rows if name in slices[i]], with_histogram=False)
            for name in sorted({name for i in rows for name in slices[i]})
        }
    names = ("accuracy", "margin", "calibration_error")
    means = {name: sum(part[name] for part in domains.values()) / max(1, len(domains)) for name in names}
    return {"pairs": len(pairs), **means, "domains": domains}


def _slices(pairs: Sequence[Preference]) -> list[list[str]]:
    """Names of the slices of each pair."""
    seen = {pair.key: pair.domain for pair in pairs}

    def is_opposed(pair: Preference) -> bool:
        asked, chosen, rejected = pair.key
        return seen.get((asked, rejected, chosen), pair.domain) != pair.domain

    return [[*pair.meta.get("slices", ()), *(["opposed"] if is_opposed(pair) else [])] for pair in pairs]


def _wants_gap(pair: Preference) -> bool:
    return "score_gap" in pair.meta and not {"hard", "easy"} & set(pair.meta.get("slices", ()))


def _median_gap(gaps: Collection[float]) -> float | None:
    """The median, or the next gap where none is below the median. None where all are equal."""
    if not gaps:
        return None
    middle = statistics.median(gaps)
    return middle if min(gaps) < middle else min((gap for gap in gaps if gap > middle), default=None)


def _domains(pairs: Iterable[Preference]) -> list[str]:
    return sorted({pair.domain for pair in pairs})


def _figures(
    scores: Sequence[tuple[float, float]], rows: Sequence[int], *, with_histogram: bool = True
) -> dict[str, Any]:
    metrics = PairMetrics(("all",), sync_on_compute=False)
    chosen_P, rejected_P = torch.tensor([scores[row] for row in rows]).unbind(1)
    metrics.update(chosen_P, rejected_P, torch.zeros(len(rows), dtype=torch.int64))
    values = metrics.compute()
    figures: dict[str, Any] = {"pairs": len(rows)}
    figures |= {name: values[name].item() for name in ("accuracy", "margin", "calibration_error")}
    if with_histogram:
        figures["histogram"] = {"edges": list(HISTOGRAM_EDGES), "counts": metrics.histogram("all")}
    return figures
