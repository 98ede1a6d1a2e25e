"""Losses of DPO and advantages of RLOO as pure functions.

Shape suffixes: P pairs, B responses (those to one prompt side by side), R response tokens (padded on the right).
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def dpo_loss(chosen_P: Tensor, rejected_P: Tensor, *, pairs: Tensor | float, beta: float = 0.1) -> Tensor:
    """``-log sigmoid(beta * (chosen - rejected))``, summed and divided (Rafailov et al. 2023, equation 7).

    Args:
        chosen_P: Log-probability of each chosen reply under the actor minus that under the reference, [P], in nats,
            with gradient.
        rejected_P: The same of the rejected replies, [P].
        pairs: Denominator, a scalar: pairs of the optimizer step.
        beta: Strength of the hold on the reference.

    Returns:
        A scalar, float32.
    """
    return -logsigmoid(beta * (chosen_P.float() - rejected_P.float())).sum() / pairs


def leave_one_out(rewards_BR: Tensor, values_BR: Tensor, mask_BR: Tensor, *, replies: int = 4) -> tuple[Tensor, Tensor]:
    """Advantages over the other replies to the same prompt (Kool et al. 2019, Ahmadian et al. 2024).

    Args:
        rewards_BR: Reward of each token, divergence included, [B, R]. Those of a reply are added up.
        values_BR: Ignored, [B, R]: there is no critic. What `gae` is called with.
        mask_BR: Bool, [B, R], true on response tokens.
        replies: To each prompt, side by side.

    Returns:
        ``(advantages_BR, returns_BR)`` in float32, the same at each token of a reply, 0 on padding. Returns are the
        rewards of whole replies.

    Raises:
        ValueError: If there is no other reply to a prompt.
    """
    if replies < 2 or len(rewards_BR) % replies:
        raise ValueError(f"replies={replies} must be 2 or more, and divide the {len(rewards_BR)} replies of a rank.")
    totals_QK = torch.where(mask_BR, rewards_BR.float(), 0.0).sum(1).unflatten(0, (-1, replies))
    others_QK = (totals_QK.sum(1, keepdim=True) - totals_QK) / (replies - 1)
    wide = [(values_QK.flatten()[:, None] * mask_BR) for values_QK in (totals_QK - others_QK, totals_QK)]
    return wide[0], wide[1]
