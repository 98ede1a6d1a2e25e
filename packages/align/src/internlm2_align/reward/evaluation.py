"""Figures of a reward model on held-out pairs, by domain and by slices of a domain.

A pair belongs to its domain, and to each slice named in its ``meta["slices"]``, e.g. ``conflicting`` for questions that
two domains answer differently.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from internlm2_align.reward.metrics import HISTOGRAM_EDGES, PairMetrics
from internlm2_align.reward.preference import Preference


def pair_figures(pairs: Sequence[Preference], scores: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Accuracy, margin and calibration of scored pairs.

    Args:
        pairs: The pairs.
        scores: Of the chosen and the rejected reply of each.

    Returns:
        ``{"pairs", "accuracy", "margin", "calibration_error", "domains": {name: the same + "histogram" + "slices"}}``;
        the figures at the top are plain means over domains.
    """
    places = {domain: [i for i, pair in enumerate(pairs) if pair.domain == domain] for domain in _domains(pairs)}
    domains = {domain: _figures(scores, rows) for domain, rows in places.items()}
    for domain, rows in places.items():
        slices = sorted({name for i in rows for name in pairs[i].meta.get("slices", ())})
        domains[domain]["slices"] = {
            name: _figures(scores, [i for i in rows if name in pairs[i].meta.get("slices", ())], with_histogram=False)
            for name in slices
        }
    names = ("accuracy", "margin", "calibration_error")
    means = {name: sum(part[name] for part in domains.values()) / max(1, len(domains)) for name in names}
    return {"pairs": len(pairs), **means, "domains": domains}


def _domains(pairs: Iterable[Preference]) -> list[str]:
    return sorted({pair.domain for pair in pairs})


def _figures(
    scores: Sequence[tuple[float, float]], rows: Sequence[int], *, with_histogram: bool = True
) -> dict[str, Any]:
    metrics = PairMetrics(("all",))
    chosen_P, rejected_P = torch.tensor([scores[row] for row in rows]).unbind(1)
    metrics.update(chosen_P, rejected_P, torch.zeros(len(rows), dtype=torch.int64))
    values = metrics.compute()
    figures: dict[str, Any] = {"pairs": len(rows)}
    figures |= {name: values[name].item() for name in ("accuracy", "margin", "calibration_error")}
    if with_histogram:
        figures["histogram"] = {"edges": list(HISTOGRAM_EDGES), "counts": metrics.histogram("all")}
    return figures
