"""Hand-worked values, an independent double-precision reference, and the trap of the dead barrier."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from internlm2_align.reward.losses import log_barrier, ranking_loss, reward_loss


def reference_ranking(difference: float, gamma: float) -> float:
    p = 1 / (1 + math.exp(-difference))
    return -((1 - 2 * max(0.0, p - 0.5)) ** gamma) * math.log(p)


@pytest.mark.parametrize(
    ("chosen", "rejected", "expected"),
    [
        # A tie: P = 1/2, factor 1.
        (1.0, 1.0, math.log(2)),
        # Ranked wrong by log 3: P = 1/4, factor 1.
        (0.0, math.log(3), math.log(4)),
        # Ranked right by log 3: P = 3/4, factor (1 - 2/4)^2 = 1/4.
        (math.log(3), 0.0, 0.25 * math.log(4 / 3)),
    ],
)
def test_ranking_by_hand(chosen, rejected, expected):
    loss = ranking_loss(torch.tensor([chosen]), torch.tensor([rejected]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_barrier_by_hand():
    barrier = log_barrier(torch.tensor([0.0, 4.0, -4.0], dtype=torch.float64))
    expected = [-2 * math.log(5), -math.log(9), -math.log(9)]
    assert barrier.tolist() == pytest.approx(expected, rel=1e-12)


def test_whole_loss_by_hand():
    # One pair, scores log 3 and 0: ranking as above; the barrier is averaged over the two scores.
    first = math.log(3)
    barrier = (-(math.log(5 + first) + math.log(5 - first)) - 2 * math.log(5)) / 2
    expected = 0.25 * math.log(4 / 3) + 0.02 * barrier
    loss = reward_loss(torch.tensor([first]), torch.tensor([0.0]))
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)  # the first example waits for imports, and machines are busy
@given(st.floats(-12, 12), st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0]))
def test_ranking_equals_the_double_precision_reference_in_value_and_gradient(difference, gamma):
    chosen = torch.tensor([difference], dtype=torch.float64, requires_grad=True)
    loss = ranking_loss(chosen, torch.zeros(1, dtype=torch.float64), gamma=gamma)
    assert loss.item() == pytest.approx(reference_ranking(difference, gamma), rel=1e-9, abs=1e-12)
    if abs(difference) < 1e-3:  # a kink at the tie
        return
    (gradient,) = torch.autograd.grad(loss.sum(), chosen)
    step = 1e-6
    numeric = (reference_ranking(difference + step, gamma) - reference_ranking(difference - step, gamma)) / (2 * step)
    assert gradient.item() == pytest.approx(numeric, rel=1e-4, abs=1e-8)


def ranking_and_slope(difference: float, gamma: float) -> tuple[float, float]:
    """The ranking loss and its derivative, written out so that nothing overflows in double precision."""
    small = math.exp(-abs(difference))
    wrong = (small if difference > 0 else 1.0) / (1 + small)  # 1 - P
    surprise = math.log1p(small) + max(0.0, -difference)  # -log P
    if difference <= 0:
        return surprise, -wrong
    factor = (2 * wrong) ** gamma
    return factor * surprise, -factor * (gamma * (1 - wrong) * surprise + wrong)


def barrier_and_slope(score: float, limit: float = 5.0, knee: float = 0.005) -> tuple[float, float]:
    start = limit - knee
    if abs(score) <= start:
        return -math.log(limit + score) - math.log(limit - score), 1 / (limit - score) - 1 / (limit + score)
    value, slope = barrier_and_slope(start)
    return value + slope * (abs(score) - start), math.copysign(slope, score)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 3.0])
@pytest.mark.parametrize("margin", [0.0, 0.5])
@pytest.mark.parametrize("barrier_weight", [0.0, 0.02])
@pytest.mark.parametrize("difference", [sign * size for size in (5.0, 8.0, 100.0, 1e4) for sign in (1, -1)])
def test_extreme_scores_have_the_value_and_gradient_of_double_precision(
    dtype, gamma, margin, barrier_weight, difference
):
    # Once with both scores outside the barrier or near it, once with one of them at 0.
    for centre in (0.0, difference / 2):
        chosen = torch.tensor([centre + difference / 2], dtype=dtype, requires_grad=True)
        rejected = torch.tensor([centre - difference / 2], dtype=dtype, requires_grad=True)
        loss = reward_loss(
            chosen, rejected, gamma=gamma, margin_P=torch.tensor([margin]), barrier_weight=barrier_weight
        )
        loss.backward()
        ranking, ranking_slope = ranking_and_slope(chosen.item() - rejected.item() - margin, gamma)
        barriers, slopes = zip(*(barrier_and_slope(score.item()) for score in (chosen, rejected)), strict=True)
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(ranking + barrier_weight * sum(barriers) / 2, rel=1e-5, abs=1e-6)
        # A gradient of bfloat16 scores is itself bfloat16, the sum of two that are: eight bits of the larger part.
        precision = 2**-7 if dtype == torch.bfloat16 else 1e-5
        for score, sign, slope in zip((chosen, rejected), (1, -1), slopes, strict=True):
            parts = sign * ranking_slope, barrier_weight * slope / 2
            assert abs(score.grad.item() - sum(parts)) <= precision * max(map(abs, parts)) + 1e-12


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_a_tie_has_the_gradient_of_a_pair_ranked_wrong(gamma, margin):
    """-log sigmoid has the slope -1/2 at 0, and the factor has none: from the left, where it is 1 throughout."""
    chosen, rejected = torch.tensor([1.0 + margin], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    ranking_loss(chosen, rejected, gamma=gamma, margin_P=margin).sum().backward()
    assert (chosen.grad.item(), rejected.grad.item()) == (-0.5, 0.5)


@settings(deadline=None)
@given(st.floats(-4.9, 4.9))
def test_barrier_inside_is_the_plain_formula_with_its_gradient(x):
    score = torch.tensor([x], dtype=torch.float64, requires_grad=True)
    barrier = log_barrier(score)
    (gradient,) = torch.autograd.grad(barrier.sum(), score)
    assert barrier.item() == pytest.approx(-(math.log(x + 5) + math.log(5 - x)), rel=1e-12)
    assert gradient.item() == pytest.approx(1 / (5 - x) - 1 / (5 + x), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("x", [5.0, 6.0, 8.0, 100.0])
def test_barrier_outside_has_a_live_gradient_that_points_home(x):
    scores = torch.tensor([x, -x], requires_grad=True)
    (gradient,) = torch.autograd.grad(log_barrier(scores).sum(), scores)
    assert gradient[0] > 100 and gradient[1] < -100


def test_barrier_is_continuous_in_value_and_slope_at_the_knee():
    knee = torch.tensor([4.995 - 1e-9, 4.995 + 1e-9], dtype=torch.float64, requires_grad=True)
    value = log_barrier(knee)
    (gradient,) = torch.autograd.grad(value.sum(), knee)
    assert value[1].item() == pytest.approx(value[0].item(), abs=1e-6)
    assert gradient[1].item() == pytest.approx(gradient[0].item(), rel=1e-4)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW])
def test_scores_that_start_at_plus_minus_eight_come_back(optimizer):
    # Both directions, with the chosen side outside above: the ranking term alone would leave it there.
    chosen = torch.tensor([8.0, -8.0, 8.0], requires_grad=True)
    rejected = torch.tensor([-8.0, 8.0, 8.0], requires_grad=True)
    optim = optimizer([chosen, rejected], lr=0.05)
    for _ in range(3000):
        optim.zero_grad()
        reward_loss(chosen, rejected).backward()
        optim.step()
    scores = torch.cat((chosen, rejected)).detach()
    assert scores.abs().max() < 5
    assert (chosen > rejected).all()


def test_margin_shifts_the_difference():
    shifted = ranking_loss(torch.tensor([2.0]), torch.tensor([0.0]), margin_P=torch.tensor([0.5]))
    assert shifted.item() == pytest.approx(ranking_loss(torch.tensor([1.5]), torch.tensor([0.0])).item())


def test_the_loss_is_the_same_in_one_batch_and_in_two_parts():
    chosen, rejected = torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    whole = reward_loss(chosen, rejected)
    parts = reward_loss(chosen[:3], rejected[:3], pairs=10) + reward_loss(chosen[3:], rejected[3:], pairs=10)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-6)


def test_bad_settings_name_the_override():
    one = torch.ones(1)
    with pytest.raises(ValueError, match=r"gamma=\S+ must be 0 or more"):
        ranking_loss(one, one, gamma=-1)
    with pytest.raises(ValueError, match=r"knee=\S+ must be between 0 and limit="):
        log_barrier(one, knee=6.0)
