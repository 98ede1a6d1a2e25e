"""Copies of a network that neighbouring ranks share for a while, as for sampling. Their passes wait for nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy
from torch.distributed.tensor import DTensor

from internlm2_parallel.memory import Weights, fill_kept
from internlm2_parallel.zero.fully_shard import shard_units


def neighbours(ranks: int, world_size: int, device: str) -> DeviceMesh:
    """The mesh of this rank and its neighbours. Collective over all ranks.

    Args:
        ranks: In each group.
        world_size: Ranks in all.
        device: "cpu" or "cuda".

    Raises:
        ValueError: If they do not make groups of one size.
    """
    if ranks < 1 or world_size % ranks:
        raise ValueError(f"ranks={ranks} of a group must divide the {world_size} ranks of the run.")
    mesh = init_device_mesh(device, (world_size // ranks, ranks), mesh_dim_names=("group", "neighbour"))
    return mesh["neighbour"]


@contextmanager
def filled(copy: nn.Module, weights: Weights, mesh: DeviceMesh) -> Iterator[None]:
    """Inside, a copy is sharded over a mesh and has weights. Its memory is free afterwards.

    Args:
        copy: On the meta device.
        weights: Whole ones by name, the same on all ranks.
        mesh: One-dimensional.
    """
    shard_units(copy, mesh, MixedPrecisionPolicy())
    fill_kept(copy, weights, mesh.device_type)
    try:
        yield
    finally:
        free(copy)


@torch.no_grad()
def free(net: nn.Module) -> None:
    """Give back the memory of a sharded network at once. FSDP's modules refer to each other: a collector comes late."""
    for module in net.modules():
        if isinstance(module, FSDPModule):
            module.reshard()
    for weight in net.parameters():
        local = weight.to_local() if isinstance(weight, DTensor) else weight
        local.untyped_storage().resize_(0)
