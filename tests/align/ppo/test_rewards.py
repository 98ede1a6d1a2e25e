"""KL reward by hand; the end of turn carries the score, padding carries nothing."""

import pytest
import torch
from internlm2_align.ppo.rewards import adapted, token_kl, token_rewards

MASK = torch.tensor([[True, True, True], [True, True, False]])
LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-1.0, -1.0, 99.0]])
REFERENCE = torch.tensor([[-1.5, -2.0, -1.5], [-1.0, -3.0, -float("inf")]])


def test_rewards_by_hand():
    rewards = token_rewards(torch.tensor([2.0, -1.0]), LOGPROBS, REFERENCE, MASK, kl_coefficient=0.01)
    expected = torch.tensor([[-0.005, 0.0, 2.0 - 0.01], [0.0, -1.0 - 0.02, 0.0]])
    torch.testing.assert_close(rewards, expected)


def test_divergence_by_hand():
    torch.testing.assert_close(token_kl(LOGPROBS, REFERENCE, MASK).sum(1), torch.tensor([1.5, 2.0]))
    # d is .5, 0, 1 and 0, 2: k2 = d^2 / 2, k3 = exp(-d) - 1 + d.
    k2 = torch.tensor([[0.125, 0.0, 0.5], [0.0, 2.0, 0.0]])
    torch.testing.assert_close(token_kl(LOGPROBS, REFERENCE, MASK, "k2"), k2)
    k3 = torch.tensor([[0.106530660, 0.0, 0.367879441], [0.0, 1.135335283, 0.0]])
    torch.testing.assert_close(token_kl(LOGPROBS, REFERENCE, MASK, "k3"), k3)
    rewards = token_rewards(torch.zeros(2), LOGPROBS, REFERENCE, MASK, kl_coefficient=0.1, kl_estimator="k3")
    torch.testing.assert_close(rewards, -0.1 * k3)


def test_the_price_of_divergence_is_steered_by_hand():
    """0.2 is the most that counts of how far the divergence is off (Ziegler et al. 2019, section 2.2)."""
    settings = {"target": 6.0, "responses": 512, "horizon": 10_000}
    assert adapted(0.2, 12.0, **settings) == pytest.approx(0.2 * (1 + 0.2 * 0.0512))
    assert adapted(0.2, 5.4, **settings) == pytest.approx(0.2 * (1 - 0.1 * 0.0512))
    assert adapted(0.2, -1.0, **settings) == pytest.approx(0.2 * (1 - 0.2 * 0.0512))


def test_a_response_without_tokens_is_refused():
    with pytest.raises(ValueError, match="Response 1 holds no token"):
        token_rewards(torch.zeros(2), torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([[1, 0], [0, 0]]).bool())
