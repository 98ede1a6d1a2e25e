"""Gradient norm and clipping that are right under every layout.

torch's own functions fail on a list that mixes plain tensors and DTensors, or two meshes. Gradients are grouped by
where they live. The norm of each group is reduced over its own mesh. Groups and pipeline stages then add up by their
squares.
"""

from collections import defaultdict
from collections.abc import Hashable, Iterable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from internlm2_parallel.mesh import all_reduce_over


def _home(gradient: Tensor) -> Hashable:
    return (gradient.device_mesh, gradient.placements) if isinstance(gradient, DTensor) else gradient.device


def by_home(weights: Iterable[Tensor]) -> list[list[Tensor]]:
    """Weights that have a gradient, grouped by device, mesh and placement of it."""
    groups: dict[Hashable, list[Tensor]] = defaultdict(list)
    for weight in weights:
        if weight.grad is not None:
            groups[_home(weight.grad)].append(weight)
    return list(groups.values())


def global_norm(weights: Iterable[Tensor], pipeline: DeviceMesh | None = None) -> Tensor:
    """2-norm of all gradients of the model, the same scalar on every rank.

    Args:
        weights: This rank's parameters. A plain tensor counts as the same on all ranks but those of the pipeline.
        pipeline: Ranks that hold other blocks. None where every rank holds all blocks.
    """
    squares: list[Tensor] = []
    for group in by_home(weights):
        norm = nn.utils.get_total_norm([weight.grad for weight in group if weight.grad is not None])
        squares.append((norm.full_tensor() if isinstance(norm, DTensor) else norm).float() ** 2)
    total = torch.stack(squares).sum() if squares else torch.zeros(())
    if pipeline is not None:
        total = all_reduce_over(total, pipeline)
    return total.sqrt()


def clip_by_global_norm(weights: Iterable[Tensor], max_norm: float, pipeline: DeviceMesh | None = None) -> Tensor:
    """Scale all gradients so that their global norm is at most ``max_norm``.

    Args:
        weights: This rank's parameters.
        max_norm: Limit of the 2-norm.
        pipeline: See `global_norm`.

    Returns:
        The norm before clipping, a scalar.
    """
    weights = list(weights)
    norm = global_norm(weights, pipeline)
    for group in by_home(weights):
        nn.utils.clip_grads_with_norm_(group, max_norm, norm)
    return norm


def clip_by_value(weights: Iterable[Tensor], limit: float) -> None:
    """Cut each entry of the gradients to ``limit`` on both sides.

    Args:
        weights: This rank's parameters, [...] each.
        limit: The largest size of an entry.
    """
    for weight in weights:
        gradient = weight.grad
        if isinstance(gradient, DTensor):
            if isinstance(weight, DTensor) and gradient.placements != weight.placements:
                # Sums that are still to be added up, as those of norms over split tokens, cannot be cut.
                gradient = weight.grad = gradient.redistribute(placements=weight.placements)
            gradient = gradient.to_local()
        if gradient is not None:
            gradient.clamp_(-limit, limit)
