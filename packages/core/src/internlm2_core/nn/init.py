"""Initialisation: N(0, 0.02), residual outputs scaled down by sqrt(2 * layers) (as InternEvo does)."""

import math

import torch
from torch import nn

STD = 0.02


@torch.no_grad()
def init_weights(
    net: nn.Module,
    layers: int,
    generator: torch.Generator | None = None,
    std: float = STD,
    embedding_std: float | None = None,
) -> None:
    """Fill every weight of ``net`` in place.

    Args:
        net: a module with the released names: ``wo`` and ``w2`` end the two residual branches.
        layers: number of blocks.
        generator: source of randomness on the weights' device.
        std: standard deviation; 0.02 suits widths of thousands, 1/sqrt(dim) narrow models.
        embedding_std: of the embedding; None takes ``std``.
    """

    def scale(name: str) -> float:
        if name.endswith(("wo.weight", "w2.weight")):
            return std / math.sqrt(2 * layers)
        return embedding_std if embedding_std and name.endswith("tok_embeddings.weight") else std

    for name, weight in net.named_parameters():
        if weight.ndim == 1:
            weight.fill_(1.0)
        else:
            weight.normal_(0.0, scale(name), generator=generator)
