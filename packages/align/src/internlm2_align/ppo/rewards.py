"""Rewards of each response token: a KL penalty everywhere, the reward model's score at the end (report 4.2.3).

    r[t] = -kl_coefficient * kl[t]  +  score * [t is the response's last token]

"Last" is the last token *sampled*, which is `<|im_end|>` where the model stopped by itself. Padding never carries
reward. ``kl[t]`` is one of three estimates of the divergence from the reference (Schulman 2020,
joschu.net/blog/kl-approx.html), with ``d = log pi(a_t) - log pi_ref(a_t)``:

    k1 = d                      unbiased, and negative at times
    k2 = d^2 / 2                never negative, biased where the policies are far apart
    k3 = exp(-d) - 1 + d        unbiased and never negative

Shape suffixes: B responses, R response tokens (padded on the right).
"""

from typing import Literal

import torch
from torch import Tensor

KLEstimator = Literal["k1", "k2", "k3"]


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


def token_kl(
    logprobs_BR: Tensor, reference_logprobs_BR: Tensor, mask_BR: Tensor, estimator: KLEstimator = "k1"
) -> Tensor:
    """Estimate of the divergence from the reference at each token, in nats.

    Args:
        logprobs_BR: Log-probability of each sampled token under the policy that sampled it, [B, R].
        reference_logprobs_BR: The same under the frozen reference, [B, R].
        mask_BR: Bool, [B, R], true on response tokens.
        estimator: See the head of this module.

    Returns:
        [B, R] float32, 0 on padding.
    """
    d_BR = torch.where(mask_BR, logprobs_BR.float() - reference_logprobs_BR.float(), 0.0)
    if estimator == "k1":
        return d_BR
    # expm1 keeps the digits of small differences.
    return d_BR.square() / 2 if estimator == "k2" else torch.expm1(-d_BR) + d_BR


def token_rewards(
    scores_B: Tensor,
    logprobs_BR: Tensor,
    reference_logprobs_BR: Tensor,
    mask_BR: Tensor,
    *,
    kl_coefficient: float = 0.01,
    kl_estimator: KLEstimator = "k1",
) -> Tensor:
    """Rewards of each response token.

    Args:
        scores_B: The reward model's score of each response, [B].
        logprobs_BR: Log-probability of each sampled token under the policy that sampled it, [B, R].
        reference_logprobs_BR: The same under the frozen reference, [B, R].
        mask_BR: Bool, [B, R], true on response tokens.
        kl_coefficient: Price of one nat of divergence.
        kl_estimator: Of the divergence. The gradient of k1 is that of the divergence in expectation.

    Returns:
        Rewards, [B, R] float32, 0 on padding.
    """
    rewards_BR = -kl_coefficient * token_kl(logprobs_BR, reference_logprobs_BR, mask_BR, kl_estimator)
    last_B1 = last_token(mask_BR).unsqueeze(1)
    return rewards_BR.scatter_add(1, last_B1, scores_B.float().unsqueeze(1))


def adapted(coefficient: float, kl: float, *, target: float, responses: int, horizon: float) -> float:
    """The KL coefficient of the next iteration, raised where the divergence is above its target (Ziegler et al. 2019).

    Args:
        coefficient: Of this iteration.
        kl: Mean divergence of this iteration, in nats per response.
        target: The divergence that is wanted, in nats per response.
        responses: Of this iteration, over all ranks.
        horizon: Responses over which the coefficient changes by a fifth where the divergence is far off.
    """
    error = max(-0.2, min(0.2, kl / target - 1))
    return coefficient * (1 + error * responses / horizon)
