"""The two losses of the conditional reward model, as pure functions (report section 4.2.1).

    L = L_ranking + weight * L_penalty          weight = 0.02

All arithmetic is float32 or wider, whatever the scores' dtype: bfloat16 cannot hold a score difference near 5.

Shape suffixes: P pairs, S scores (usually 2P).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def widen(scores: Tensor) -> Tensor:
    """Returns ``scores`` in float32, or unchanged where they already are at least that wide."""
    return scores if scores.dtype == torch.float64 else scores.float()


def ranking_loss(chosen_P: Tensor, rejected_P: Tensor, *, gamma: float = 2.0, margin_P: Tensor | float = 0.0) -> Tensor:
    """Focal ranking loss of each pair: ``-(1 - 2 max(0, P - 1/2))**gamma * log P``.

    ``P = sigmoid(chosen - rejected - margin)``. The factor is 1 while a pair is ranked wrongly and falls to 0 as
    it is ranked right with confidence, so training dwells on the hard pairs. It is computed in logarithms,
    ``gamma * min(0, log 2 + log sigmoid(-d))``, so that neither side over- nor underflows for extreme scores.

    Args:
        chosen_P: Scores of the preferred responses, [P].
        rejected_P: Scores of the other responses, [P].
        gamma: Exponent of the factor. 0 gives the plain Bradley-Terry loss.
        margin_P: Least difference wanted, as a scalar or [P].

    Returns:
        Tensor [P], at least float32: no reduction, so the caller owns the denominator.

    Raises:
        ValueError: If ``gamma`` is negative.
    """
    if gamma < 0:
        raise ValueError(f"gamma={gamma} must be 0 or more, being the exponent of the focal factor.")
    difference_P = widen(chosen_P) - widen(rejected_P) - margin_P
    log_factor_P = math.log(2.0) + F.logsigmoid(-difference_P)
    # `where`, not `clamp`: at a tie the pair still counts as ranked wrong, and the factor carries no gradient.
    log_factor_P = torch.where(difference_P > 0, log_factor_P, torch.zeros_like(log_factor_P))
    return torch.exp(gamma * log_factor_P) * F.softplus(-difference_P)


def log_barrier(scores_S: Tensor, *, limit: float = 5.0, knee: float = 0.005) -> Tensor:
    """Barrier ``-(log(x + limit) + log(limit - x))`` of each score, continued by its tangent near the bounds.

    The plain formula has no value outside ``(-limit, limit)``, and computed on clamped scores it has no gradient
    there, so a score that escapes never returns. From ``limit - knee`` outward we follow the tangent instead: value
    and slope are continuous and the slope, about ``1 / knee``, points home from anywhere. With the defaults it
    outweighs the steepest ranking gradient (1.19 per pair) even after the weight 0.02.

    Args:
        scores_S: Scores, [S] or any other shape.
        limit: Half width of the interval that scores should stay in.
        knee: Distance from the bound at which the tangent takes over.

    Returns:
        Tensor like ``scores_S``, at least float32. Least at 0, where it is ``-2 log(limit)``.

    Raises:
        ValueError: If not ``0 < knee < limit``.
    """
    if not 0 < knee < limit:
        raise ValueError(f"knee={knee} must be between 0 and limit={limit}.")
    scores_S = widen(scores_S)
    start = limit - knee
    inside_S = scores_S.clamp(-start, start)
    value_S = -(torch.log(limit + inside_S) + torch.log(limit - inside_S))
    slope = 1.0 / (limit - start) - 1.0 / (limit + start)
    return value_S + slope * (scores_S.abs() - start).clamp(min=0)


def reward_loss(
    chosen_P: Tensor,
    rejected_P: Tensor,
    *,
    gamma: float = 2.0,
    margin_P: Tensor | float = 0.0,
    barrier_weight: float = 0.02,
    limit: float = 5.0,
    knee: float = 0.005,
    pairs: Tensor | float | None = None,
) -> Tensor:
    """The training loss: mean ranking loss over pairs plus the weighted mean barrier over their ``2P`` scores.

    Args:
        chosen_P: Scores of the preferred responses, [P].
        rejected_P: Scores of the other responses, [P].
        gamma: See `ranking_loss`.
        margin_P: See `ranking_loss`.
        barrier_weight: Weight of the barrier. 0 switches it off.
        limit: See `log_barrier`.
        knee: See `log_barrier`.
        pairs: Denominator, a scalar: the pairs of the global batch. None takes the pairs given, which is right only
            where they are the whole batch.

    Returns:
        A scalar, at least float32.
    """
    denominator = chosen_P.numel() if pairs is None else pairs
    loss = ranking_loss(chosen_P, rejected_P, gamma=gamma, margin_P=margin_P).sum() / denominator
    if barrier_weight == 0:
        return loss
    barrier = log_barrier(torch.cat((chosen_P, rejected_P)), limit=limit, knee=knee).sum()
    return loss + barrier_weight * barrier / (2 * denominator)
