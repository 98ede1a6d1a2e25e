"""Initialisation: N(0, 0.02), residual outputs scaled down by sqrt(2 * layers) (as InternEvo does)."""

import math

import torch
from torch import nn

STD = 0.02


@torch.no_grad()
def init_weights(net: nn.Module, layers: int, generator: torch.Generator | None = None) -> None:
    """Fill every weight of ``net`` in place.

    Args:
        net: a module with the released names: ``wo`` and ``w2`` end the two residual branches.
        layers: number of blocks.
        generator: source of randomness on the weights' device.
    """
    for name, weight in net.named_parameters():
        if weight.ndim == 1:
            weight.fill_(1.0)
        else:
            residual_end = name.endswith(("wo.weight", "w2.weight"))
            std = STD / math.sqrt(2 * layers) if residual_end else STD
            weight.normal_(0.0, std, generator=generator)
