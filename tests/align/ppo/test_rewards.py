"""KL reward by hand; the end of turn carries the score, padding carries nothing."""

import pytest
import torch
from internlm2_align.ppo.rewards import sequence_kl, token_rewards

MASK = torch.tensor([[True, True, True], [True, True, False]])
LOGPROBS = torch.tensor([[-1.0, -2.0, -0.5], [-1.0, -1.0, 99.0]])
REFERENCE = torch.tensor([[-1.5, -2.0, -1.5], [-1.0, -3.0, -float("inf")]])


def test_rewards_by_hand():
    rewards = token_rewards(torch.tensor([2.0, -1.0]), LOGPROBS, REFERENCE, MASK, kl_coefficient=0.01)
    expected = torch.tensor([[-0.005, 0.0, 2.0 - 0.01], [0.0, -1.0 - 0.02, 0.0]])
    torch.testing.assert_close(rewards, expected)


def test_divergence_by_hand():
    torch.testing.assert_close(sequence_kl(LOGPROBS, REFERENCE, MASK), torch.tensor([1.5, 2.0]))


def test_a_response_without_tokens_is_refused():
    with pytest.raises(ValueError, match="Response 1 holds no token"):
        token_rewards(torch.zeros(2), torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([[1, 0], [0, 0]]).bool())
