"""Initialisation: N(0, 0.02), residual outputs scaled down by sqrt(2 * layers) (as InternEvo does)."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping

import torch
from torch import Tensor

STD = 0.02

NamedTensors = Iterable[tuple[str, Tensor]]
"""Names and tensors, one at a time."""

Weights = Callable[[], Iterator[tuple[str, Tensor]]]
"""Gives whole weights by their names, one at a time: the same ones each time and on every rank."""


@torch.no_grad()
def drawn_weights(
    like: Mapping[str, Tensor],
    layers: int,
    generator: torch.Generator | None = None,
    std: float = STD,
    embedding_std: float | None = None,
) -> Iterator[tuple[str, Tensor]]:
    """Random weights by name, one at a time, on the generator's device.

    Args:
        like: A tensor of the shape and dtype of each weight by its released name, on any device. ``wo`` and ``w2`` are
            the ends of the two residual branches.
        layers: Number of blocks.
        generator: Source of randomness. None takes torch's own for the CPU.
        std: Standard deviation. 0.02 suits widths of thousands, 1/sqrt(dim) narrow models.
        embedding_std: Standard deviation of the embedding. None takes ``std``.
    """

    def scale(name: str) -> float:
        if name.endswith(("wo.weight", "w2.weight")):
            return std / math.sqrt(2 * layers)
        return embedding_std if embedding_std and name.endswith("tok_embeddings.weight") else std

    device = generator.device if generator else torch.device("cpu")
    for name, weight in like.items():
        value = torch.ones(weight.shape, dtype=weight.dtype, device=device)
        yield name, value if weight.ndim == 1 else value.normal_(0.0, scale(name), generator=generator)
