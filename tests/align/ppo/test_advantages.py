"""GAE by hand, against its definition as a double sum, and blind to padding."""

import torch
from internlm2_align.ppo.advantages import gae


def by_definition(rewards, values, gamma, lam):
    length = len(rewards)
    values = [*values, 0.0]
    deltas = [rewards[t] + gamma * values[t + 1] - values[t] for t in range(length)]
    return [sum((gamma * lam) ** (k - t) * deltas[k] for k in range(t, length)) for t in range(length)]


def test_by_hand():
    # gamma 1, lam 0.5; deltas: -1 + 2 - 1 = 0; 0 + 3 - 2 = 1; 4 + 0 - 3 = 1.
    # A = 1; 1 + 0.5 = 1.5; 0 + 0.75 = 0.75.
    rewards, values = torch.tensor([[-1.0, 0.0, 4.0]]), torch.tensor([[1.0, 2.0, 3.0]])
    advantages, returns = gae(rewards, values, torch.ones(1, 3).bool(), gamma=1.0, lam=0.5)
    torch.testing.assert_close(advantages, torch.tensor([[0.75, 1.5, 1.0]]))
    torch.testing.assert_close(returns, torch.tensor([[1.75, 3.5, 4.0]]))


def test_equals_the_definition_on_ragged_responses():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.randn(5, 9, generator=generator)
    values = torch.randn(5, 9, generator=generator)
    lengths = torch.tensor([9, 1, 4, 8, 2])
    mask = torch.arange(9) < lengths.unsqueeze(1)
    advantages, returns = gae(rewards, values, mask)
    for row, length in enumerate(lengths.tolist()):
        expected = by_definition(rewards[row, :length].tolist(), values[row, :length].tolist(), 1.0, 0.99)
        torch.testing.assert_close(advantages[row, :length], torch.tensor(expected), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(returns[row, :length], torch.tensor(expected) + values[row, :length])
    assert (advantages[~mask] == 0).all() and (returns[~mask] == 0).all()


def test_what_padding_holds_does_not_matter():
    mask = torch.tensor([[True, True, False, False]])
    rewards, values = torch.tensor([[0.0, 1.0, 0.0, 0.0]]), torch.tensor([[0.5, 0.2, 0.0, 0.0]])
    clean, _ = gae(rewards, values, mask)
    dirty_values = torch.tensor([[0.5, 0.2, float("nan"), float("inf")]])
    dirty, _ = gae(torch.tensor([[0.0, 1.0, 7.0, float("nan")]]), dirty_values, mask)
    torch.testing.assert_close(dirty, clean)
