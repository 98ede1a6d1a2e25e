"""How well scores agree with preferences, per domain: accuracy, margin, calibration, score histogram.

A pair's score difference d claims that the preferred reply is better with probability sigmoid(d). Turned so that the
claimed winner comes first, the claim is made with confidence sigmoid(|d|), and it is right where d > 0. The expected
calibration error is the mean gap between confidence and the share of right claims, over bins of confidence.

Shape suffixes: P pairs. The counts are by domain [D]. `bin_*` by domain and confidence bin, `score_counts` by domain
and histogram bin.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

CONFIDENCE_BINS = 10
HISTOGRAM_EDGES = tuple(float(edge) for edge in range(-6, 7))
"""Edges of the score histogram: unit bins over (-5, 5) and one on each side, further ones joined to it."""


class PairMetrics(Metric):
    """Counts of pairs by domain, added up over batches and ranks.

    Args:
        domains: Names, in the order of the domain ids given to `update`.
        **options: Of torchmetrics, such as ``sync_on_compute=False`` where one rank counts for itself.
    """

    full_state_update = False
    higher_is_better = True

    pairs: Tensor
    right: Tensor
    margin: Tensor
    bin_confidence: Tensor
    bin_right: Tensor
    bin_pairs: Tensor
    score_counts: Tensor

    def __init__(self, domains: Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self.domains = tuple(domains)
        size = len(self.domains)
        for name in ("pairs", "right", "margin"):
            self.add_state(name, torch.zeros(size, dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("bin_confidence", "bin_right", "bin_pairs"):
            self.add_state(name, torch.zeros(size, CONFIDENCE_BINS, dtype=torch.float64), dist_reduce_fx="sum")
        bins = len(HISTOGRAM_EDGES) - 1
        self.add_state("score_counts", torch.zeros(size, bins, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, chosen_P: Tensor, rejected_P: Tensor, domain_index_P: Tensor) -> None:
        """Count pairs. A tie is half right.

        Args:
            chosen_P: Scores of the preferred replies, [P].
            rejected_P: Scores of the others, [P].
            domain_index_P: Ids of the domains, [P] int64.
        """
        difference_P = (chosen_P - rejected_P).detach().double()
        right_P = (difference_P > 0).double() + 0.5 * (difference_P == 0).double()
        confidence_P = difference_P.abs().sigmoid()
        bin_P = ((confidence_P - 0.5) * 2 * CONFIDENCE_BINS).long().clamp(max=CONFIDENCE_BINS - 1)
        cell_P = domain_index_P * CONFIDENCE_BINS + bin_P
        _add(self.pairs, domain_index_P, torch.ones_like(right_P))
        _add(self.right, domain_index_P, right_P)
        _add(self.margin, domain_index_P, difference_P)
        _add(self.bin_pairs, cell_P, torch.ones_like(right_P))
        _add(self.bin_right, cell_P, right_P)
        _add(self.bin_confidence, cell_P, confidence_P)
        for scores_P in (chosen_P, rejected_P):
            self._add_scores(scores_P.detach().double(), domain_index_P)

    def _add_scores(self, scores_P: Tensor, domain_index_P: Tensor) -> None:
        bins = self.score_counts.shape[1]
        bin_P = (scores_P - HISTOGRAM_EDGES[0]).floor().long().clamp(0, bins - 1)
        _add(self.score_counts, domain_index_P * bins + bin_P, torch.ones_like(scores_P))

    def compute(self) -> dict[str, Tensor]:
        """Scalars ``NAME/DOMAIN`` for each domain seen, and ``NAME`` as their plain mean.

        Names are ``accuracy``, ``margin`` (mean difference of scores) and ``calibration_error``.
        """
        values = {
            "accuracy": self.right / self.pairs,
            "margin": self.margin / self.pairs,
            "calibration_error": (self.bin_right - self.bin_confidence).abs().sum(1) / self.pairs,
        }
        seen = [index for index in range(len(self.domains)) if self.pairs[index] > 0]
        result: dict[str, Tensor] = {}
        for name, value_D in values.items():
            result |= {f"{name}/{self.domains[index]}": value_D[index].float() for index in seen}
            if seen:
                result[name] = value_D[seen].mean().float()
        return result

    def histogram(self, domain: str) -> list[int]:
        """Scores of a domain in each bin of `HISTOGRAM_EDGES`, both sides of its pairs."""
        return [int(count) for count in self.score_counts[self.domains.index(domain)].tolist()]


def _add(totals: Tensor, index_P: Tensor, values_P: Tensor) -> None:
    totals.view(-1).index_add_(0, index_P, values_P)
