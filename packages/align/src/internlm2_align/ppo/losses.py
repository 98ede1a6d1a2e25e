"""PPO's losses as pure functions: sums over response tokens divided by a denominator that the caller states.

The caller passes the response tokens of the whole optimizer step (all micro-batches, all ranks) as ``tokens``, so a
loss is the same however the step is split. Values are not clipped and advantages not normalised (report 4.2.3).

Shape suffixes: B responses, R response tokens (padded on the right).
"""

import torch
from torch import Tensor


def _masked_sum(terms_BR: Tensor, mask_BR: Tensor) -> Tensor:
    # `where`, not a product: padding may hold infinities, and 0 * inf is nan.
    return torch.where(mask_BR, terms_BR, torch.zeros_like(terms_BR)).sum()


def policy_loss(
    logprobs_BR: Tensor,
    old_logprobs_BR: Tensor,
    advantages_BR: Tensor,
    mask_BR: Tensor,
    *,
    tokens: Tensor | float,
    clip: float = 0.2,
) -> Tensor:
    """Clipped surrogate loss ``-min(ratio * A, clamp(ratio, 1 - clip, 1 + clip) * A)`` (Schulman et al. 2017).

    Args:
        logprobs_BR: Log-probabilities under the policy in training, [B, R], with gradient.
        old_logprobs_BR: Under the policy that sampled, [B, R].
        advantages_BR: From `gae`, [B, R].
        mask_BR: Bool, [B, R], true on response tokens.
        tokens: Denominator, a scalar: response tokens of the optimizer step.
        clip: Half width of the trust interval of the ratio.

    Returns:
        A scalar, float32.
    """
    log_ratio_BR = torch.where(mask_BR, logprobs_BR.float() - old_logprobs_BR.float(), 0.0)
    ratio_BR = log_ratio_BR.exp()
    surrogate_BR = torch.minimum(ratio_BR * advantages_BR, ratio_BR.clamp(1 - clip, 1 + clip) * advantages_BR)
    return -_masked_sum(surrogate_BR, mask_BR) / tokens


def value_loss(values_BR: Tensor, returns_BR: Tensor, mask_BR: Tensor, *, tokens: Tensor | float) -> Tensor:
    """Half the squared error of the critic, ``(V - R)^2 / 2``, without clipping.

    Args:
        values_BR: The critic's estimates, [B, R], with gradient.
        returns_BR: From `gae`, [B, R].
        mask_BR: Bool, [B, R], true on response tokens.
        tokens: Denominator, a scalar: response tokens of the optimizer step.

    Returns:
        A scalar, float32.
    """
    return 0.5 * _masked_sum((values_BR.float() - returns_BR) ** 2, mask_BR) / tokens


def step_figures(
    logprobs_BR: Tensor,
    old_logprobs_BR: Tensor,
    advantages_BR: Tensor,
    mask_BR: Tensor,
    *,
    tokens: Tensor | float,
    clip: float = 0.2,
) -> dict[str, Tensor]:
    """How far a step finds the policy from the one that sampled. Sums over the same denominator as the loss.

    Args:
        logprobs_BR: Log-probabilities under the policy in training, [B, R].
        old_logprobs_BR: Under the policy that sampled, [B, R].
        advantages_BR: From `gae`, [B, R].
        mask_BR: Bool, [B, R], true on response tokens.
        tokens: Denominator, a scalar: response tokens of the optimizer step.
        clip: Half width of the trust interval.

    Returns:
        Scalars. ``clip_fraction``: share of tokens whose gradient is cut off, as TRL and torchtune count it (a ratio
        outside the trust interval is not cut where the advantage pulls it back). ``ratio``: mean ratio. ``approx_kl``:
        half the mean square of log-ratios, in nats per token, TRL's ``approxkl`` without padding.
    """
    log_ratio_BR = torch.where(mask_BR, logprobs_BR.float() - old_logprobs_BR.float(), 0.0)
    ratio_BR = log_ratio_BR.exp()
    is_cut_BR = ratio_BR.clamp(1 - clip, 1 + clip) * advantages_BR < ratio_BR * advantages_BR
    return {
        "clip_fraction": (is_cut_BR & mask_BR).sum() / tokens,
        "ratio": _masked_sum(ratio_BR, mask_BR) / tokens,
        "approx_kl": log_ratio_BR.square().sum() / 2 / tokens,
    }
