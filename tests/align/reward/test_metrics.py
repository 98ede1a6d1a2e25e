import math

import pytest
import torch
from internlm2_align.reward.metrics import HISTOGRAM_EDGES, PairMetrics


def test_by_hand():
    metrics = PairMetrics(("maths", "format", "unseen"))
    log3 = math.log(3)
    # maths: right by log 3, wrong by log 3; format: a tie.
    metrics.update(torch.tensor([log3, 0.0]), torch.tensor([0.0, log3]), torch.tensor([0, 0]))
    metrics.update(torch.tensor([2.0]), torch.tensor([2.0]), torch.tensor([1]))
    values = {name: value.item() for name, value in metrics.compute().items()}
    assert values == pytest.approx(
        {
            "accuracy/maths": 0.5, "accuracy/format": 0.5, "accuracy": 0.5,
            "margin/maths": 0.0, "margin/format": 0.0, "margin": 0.0,
            # Claimed with confidence 3/4 twice, right once in two; the tie claims 1/2 and is half right.
            "calibration_error/maths": 0.25, "calibration_error/format": 0.0, "calibration_error": 0.125,
        },
        abs=1e-6,
    )  # fmt: skip


def test_calibrated_claims_have_no_error():
    metrics = PairMetrics(("maths",))
    generator = torch.Generator().manual_seed(0)
    difference = 4 * torch.rand(200_000, generator=generator)
    right = torch.rand(200_000, generator=generator) < difference.sigmoid()
    signed = torch.where(right, difference, -difference)
    metrics.update(signed, torch.zeros_like(signed), torch.zeros(len(signed), dtype=torch.long))
    assert metrics.compute()["calibration_error"] < 0.01


def test_histogram_takes_in_what_lies_outside():
    metrics = PairMetrics(("maths",))
    metrics.update(torch.tensor([0.5, 9.0]), torch.tensor([-0.5, -9.0]), torch.tensor([0, 0]))
    histogram = metrics.histogram("maths")
    assert len(histogram) == len(HISTOGRAM_EDGES) - 1
    assert histogram[0] == histogram[-1] == 1 and histogram[5] == histogram[6] == 1 and sum(histogram) == 4


def test_adds_up_over_batches():
    chosen, rejected = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    domain = torch.arange(50) % 2
    whole, parts = PairMetrics(("a", "b")), PairMetrics(("a", "b"))
    whole.update(chosen, rejected, domain)
    for rows in (slice(0, 13), slice(13, 50)):
        parts.update(chosen[rows], rejected[rows], domain[rows])
    assert whole.compute() == parts.compute()
