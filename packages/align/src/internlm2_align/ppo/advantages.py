"""Generalised advantage estimation (Schulman et al. 2016) over padded responses.

    delta[t] = r[t] + gamma * V[t+1] - V[t]            V after the last token is 0: the response is over
    A[t]     = delta[t] + gamma * lam * A[t+1]
    R[t]     = A[t] + V[t]                             the critic's target

The report uses lam = 0.99, gamma = 1, and does not normalise advantages.

Shape suffixes: B responses, R response tokens (padded on the right).
"""

import torch
from torch import Tensor


def gae(
    rewards_BR: Tensor, values_BR: Tensor, mask_BR: Tensor, *, gamma: float = 1.0, lam: float = 0.99
) -> tuple[Tensor, Tensor]:
    """Advantages and returns.

    Args:
        rewards_BR: Reward of each token, [B, R].
        values_BR: The critic's estimate *before* each token, [B, R], that is, of the state that the token is chosen in.
        mask_BR: Bool, [B, R], true on response tokens. Values and rewards on padding are ignored, whatever they hold.
        gamma: Discount.
        lam: GAE's lambda.

    Returns:
        ``(advantages_BR, returns_BR)`` in float32, 0 on padding.
    """
    rewards_BR = torch.where(mask_BR, rewards_BR.float(), 0.0)
    values_BR = torch.where(mask_BR, values_BR.float(), 0.0)
    advantages_BR = torch.zeros_like(values_BR)
    running_B = torch.zeros_like(values_BR[:, 0])
    next_value_B = torch.zeros_like(running_B)
    for t in reversed(range(values_BR.shape[1])):
        delta_B = rewards_BR[:, t] + gamma * next_value_B - values_BR[:, t]
        running_B = delta_B + gamma * lam * running_B
        # On padding all terms are 0, so nothing leaks into the last real token.
        advantages_BR[:, t] = running_B
        next_value_B = values_BR[:, t]
    return advantages_BR, advantages_BR + values_BR
