"""The norm of a gradient that is spread over ranks, taken once and used for clipping too."""

import math

import lightning as L
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from internlm2_core.shares import ClipsByNorm


def clip_by_norm(trainer: L.Trainer, optimizer: Optimizer, max_norm: float) -> Tensor:
    """Scale the gradients of an optimizer so that their global norm is at most ``max_norm``. Collective.

    Under float16 gradients are scaled until the optimizer steps. They are clipped, and their norm is given, as if they
    were not.

    Args:
        trainer: Its strategy knows how gradients are spread over ranks.
        optimizer: Whose gradients.
        max_norm: Limit of the 2-norm. 0 clips nothing.

    Returns:
        The norm before clipping, a scalar, the same on every rank.
    """
    precision, strategy = trainer.precision_plugin, trainer.strategy
    scaler = getattr(precision, "scaler", None)
    scale = 1.0 if scaler is None else scaler.get_scale()
    limit = max_norm * scale if max_norm else math.inf
    weights = list(precision.main_params(optimizer))
    if isinstance(strategy, ClipsByNorm):
        norm = strategy.clip_by_norm(weights, limit)
    elif (clip := getattr(strategy.model, "clip_grad_norm_", None)) is not None:  # torch's first FSDP
        norm = clip(limit)
    else:
        norm = nn.utils.clip_grad_norm_(weights, limit)
    return (norm.full_tensor() if isinstance(norm, DTensor) else norm).detach() / scale
