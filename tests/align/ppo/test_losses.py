"""Clipped policy loss and unclipped value loss by hand; explicit denominators; padding cannot leak."""

import math

import pytest
import torch
from internlm2_align.ppo.losses import policy_loss, step_figures, value_loss


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope"),
    [
        (1.0, 2.0, -2.0, -2.0),
        (1.5, 2.0, -2.4, 0.0),  # gain capped at 1.2, no gradient
        (0.5, 2.0, -1.0, -1.0),  # below the interval, but moving back is wanted: not clipped
        (0.5, -2.0, 1.6, 0.0),  # capped at 0.8
        (1.5, -2.0, 3.0, 3.0),
    ],
)
def test_policy_loss_by_hand(ratio, advantage, loss, slope):
    logprobs = torch.tensor([[math.log(ratio) - 1.0]], requires_grad=True)
    value = policy_loss(
        logprobs, torch.tensor([[-1.0]]), torch.tensor([[advantage]]), torch.ones(1, 1).bool(), tokens=1
    )
    value.backward()
    assert value.item() == pytest.approx(loss, rel=1e-6)
    assert logprobs.grad.item() == pytest.approx(slope, rel=1e-6, abs=1e-9)  # d ratio / d logprob = ratio


def test_value_loss_is_not_clipped():
    value = value_loss(torch.tensor([[10.0, 1.0]]), torch.tensor([[0.0, 0.0]]), torch.ones(1, 2).bool(), tokens=2)
    assert value.item() == pytest.approx((100 + 1) / 4)


def test_losses_are_sums_over_a_stated_denominator():
    generator = torch.Generator().manual_seed(3)
    new, old, advantages, returns = torch.randn(4, 6, 5, generator=generator)
    mask = torch.arange(5) < torch.tensor([5, 2, 3, 1, 5, 4]).unsqueeze(1)
    tokens = mask.sum()
    for whole, part in (
        (policy_loss(new, old, advantages, mask, tokens=tokens),
         lambda rows: policy_loss(new[rows], old[rows], advantages[rows], mask[rows], tokens=tokens)),
        (value_loss(new, returns, mask, tokens=tokens),
         lambda rows: value_loss(new[rows], returns[rows], mask[rows], tokens=tokens)),
    ):  # fmt: skip
        torch.testing.assert_close(part(slice(0, 2)) + part(slice(2, 6)), whole)


def test_padding_does_not_leak_into_loss_or_gradient():
    mask = torch.tensor([[True, False]])
    logprobs = torch.tensor([[-1.0, float("-inf")]], requires_grad=True)
    loss = policy_loss(logprobs, torch.tensor([[-1.0, 0.0]]), torch.tensor([[1.0, float("inf")]]), mask, tokens=1)
    loss.backward()
    assert loss.item() == pytest.approx(-1.0)
    assert logprobs.grad.tolist() == [[-1.0, 0.0]]


def test_the_clip_fraction_counts_tokens_whose_gradient_is_cut():
    """Above the interval with a gain and below it with a loss. Padding counts nowhere."""
    ratios = torch.tensor([[1.3, 1.3, 0.7, 0.7, 1.1, 5.0]])
    advantages = torch.tensor([[1.0, -1.0, 1.0, -1.0, 1.0, 1.0]])
    mask = torch.tensor([[True] * 5 + [False]])
    logprobs, old = ratios.log().requires_grad_(), torch.zeros(1, 6)
    policy_loss(logprobs, old, advantages, mask, tokens=5).backward()
    without_gradient = (logprobs.grad[mask] == 0).float().mean().item()
    figures = step_figures(logprobs.detach(), old, advantages, mask, tokens=5)
    assert figures["clip_fraction"].item() == pytest.approx(without_gradient) == 2 / 5
    assert figures["ratio"].item() == pytest.approx((1.3 + 1.3 + 0.7 + 0.7 + 1.1) / 5)
    squares = 2 * math.log(1.3) ** 2 + 2 * math.log(0.7) ** 2 + math.log(1.1) ** 2
    assert figures["approx_kl"].item() == pytest.approx(squares / 10)
