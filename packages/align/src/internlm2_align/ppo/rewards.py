"""Rewards of each response token: a KL penalty everywhere, the reward model's score at the end (report 4.2.3).

    r[t] = -kl_coefficient * (log pi(a_t) - log pi_ref(a_t))  +  score * [t is the response's last token]

"Last" is the last token *sampled*, which is `<|im_end|>` where the model stopped by itself. Padding never carries
reward.

Shape suffixes: B responses, R response tokens (padded on the right).
"""

import torch
from torch import Tensor


def last_token(mask_BR: Tensor) -> Tensor:
    """Index of each response's last token.

    Args:
        mask_BR: Bool, [B, R], true on response tokens, false on the padding to their right.

    Returns:
        Indices, [B] int64.

    Raises:
        ValueError: If a response holds no token.
    """
    lengths_B = mask_BR.sum(1)
    if bool((lengths_B == 0).any()):
        row = int((lengths_B == 0).nonzero()[0])
        raise ValueError(
            f"Response {row} holds no token. An engine must sample at least one: max_new_tokens must be 1 or more."
        )
    return lengths_B - 1


def token_rewards(
    scores_B: Tensor,
    logprobs_BR: Tensor,
    reference_logprobs_BR: Tensor,
    mask_BR: Tensor,
    *,
    kl_coefficient: float = 0.01,
) -> Tensor:
    """Rewards of each response token.

    Args:
        scores_B: The reward model's score of each response, [B].
        logprobs_BR: Log-probability of each sampled token under the policy that sampled it, [B, R].
        reference_logprobs_BR: The same under the frozen reference, [B, R].
        mask_BR: Bool, [B, R], true on response tokens.
        kl_coefficient: Price of one nat of divergence.

    Returns:
        Rewards, [B, R] float32, 0 on padding.
    """
    divergence_BR = (logprobs_BR - reference_logprobs_BR).float()
    rewards_BR = torch.where(mask_BR, -kl_coefficient * divergence_BR, torch.zeros_like(divergence_BR))
    last_B1 = last_token(mask_BR).unsqueeze(1)
    return rewards_BR.scatter_add(1, last_B1, scores_B.float().unsqueeze(1))


def sequence_kl(logprobs_BR: Tensor, reference_logprobs_BR: Tensor, mask_BR: Tensor) -> Tensor:
    """Estimate of the divergence from the reference in nats per response, ``sum_t log pi - log pi_ref``, as [B].

    Args:
        logprobs_BR: Log-probability of each sampled token under the policy that sampled it, [B, R].
        reference_logprobs_BR: The same under the frozen reference, [B, R].
        mask_BR: Bool, [B, R], true on response tokens.
    """
    divergence_BR = (logprobs_BR - reference_logprobs_BR).float()
    return torch.where(mask_BR, divergence_BR, torch.zeros_like(divergence_BR)).sum(1)
