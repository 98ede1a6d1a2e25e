"""Sharding of state through FSDP2 (`torch.distributed.fsdp.fully_shard`).

FSDP2 stores weights as split as the optimizer state. The other extents say when it gathers and when it reduces:

- *optimizer* chooses the mesh: all data ranks (full), the shard ranks with copies (partial), copies alone (replica).
- *parameters* choose what happens after a block's forward: freed (full), kept by the sub-group (partial), kept
  (replica).
- *gradients* choose what a micro-batch that is not the last communicates: all of it (full), the part inside the
  sub-group (partial), nothing (replica).
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from internlm2_parallel.mesh import Ranks
from internlm2_parallel.names import blocks_of, called
from internlm2_parallel.zero.sharding import Sharding


def _state_mesh(ranks: Ranks, sharding: Sharding) -> DeviceMesh | None:
    """The mesh on which weights and optimizer state are stored. None where there is one data rank.

    Raises:
        ValueError: If the extents need an axis that the layout does not have.
    """
    replicate, shard = ranks.weights["replicate"].size(), ranks.weights["shard"].size()
    if replicate * shard == 1:
        return None
    if sharding.optimizer == "replica" and shard > 1:
        raise ValueError(
            f"optimizer=replica keeps whole copies, but layout {ranks.layout} has {shard} shard ranks. It needs "
            f"replicate={replicate * shard} and shard=1. Context ranks count as shards and need optimizer=partial."
        )
    if sharding.optimizer == "full" and replicate > 1:
        raise ValueError(
            f"optimizer=full splits over all data ranks, but layout {ranks.layout} has {replicate} copies. It needs "
            f"replicate=1 and shard={replicate * ranks.layout.shard}, or optimizer=partial."
        )
    return ranks.weights["replicate", "shard"] if replicate > 1 else ranks.weights["shard"]


def shard_state(
    net: nn.Module, ranks: Ranks, sharding: Sharding, *, sub_group: int = 0, param_dtype: torch.dtype | None = None
) -> None:
    """Shard ``net`` in place, one group of weights per block and one for each end.

    Args:
        net: Network with children ``layers`` (blocks) and ``tok_embeddings`` somewhere below.
        ranks: The meshes.
        sharding: Extents.
        sub_group: Ranks that keep gathered weights where ``parameters`` is partial under a full optimizer.
        param_dtype: Dtype of gathered weights and of the computation (bf16). None keeps that of the weights. Gradients
            are reduced in fp32 either way.

    Raises:
        ValueError: If the extents need an axis that the layout does not have, or ``param_dtype`` comes without data
            ranks.
    """
    mesh = _state_mesh(ranks, sharding)
    if mesh is None and param_dtype is not None:
        raise ValueError(
            f"param_dtype={param_dtype} is the dtype of gathered weights, but layout {ranks.layout} gathers none. Use "
            "the Trainer's precision=bf16-mixed instead."
        )
    if mesh is None:
        return
    policy = MixedPrecisionPolicy(param_dtype=param_dtype, reduce_dtype=torch.float32 if param_dtype else None)
    shard_units(net, mesh, policy, _after_forward(sharding, mesh, sub_group))


def shard_units(
    net: nn.Module, mesh: DeviceMesh, policy: MixedPrecisionPolicy, reshard_after_forward: bool | int = True
) -> None:
    """Shard ``net`` in place, unit by unit.

    Args:
        net: See `shard_state`.
        mesh: Over which.
        policy: Dtypes.
        reshard_after_forward: Of the units. What the root keeps stays gathered after its pass.
    """
    for module in units(net):
        fully_shard(module, mesh=mesh, reshard_after_forward=reshard_after_forward, mp_policy=policy)
    fully_shard(net, mesh=mesh, reshard_after_forward=False, mp_policy=policy)


def _after_forward(sharding: Sharding, mesh: DeviceMesh, sub_group: int) -> bool | int:
    if sharding.parameters == "replica":
        return False
    if sharding.parameters == "partial" and sharding.optimizer == "full":
        shards = mesh.size()
        if not 1 < sub_group < shards or shards % sub_group:
            raise ValueError(
                f"sub_group={sub_group} must divide the {shards} shard ranks and be neither 1 nor all of them, where "
                "parameters=partial. Take the GPUs of a node."
            )
        return sub_group
    return True


def units(net: nn.Module) -> list[nn.Module]:
    """Modules whose weights are gathered together: the embedding and every block. The root keeps the rest.

    A weight that is used elsewhere too, as an embedding that is tied to the head, stays with the root.
    """
    found = (*called(net, "tok_embeddings"), *blocks_of(net))
    used = uses_of(net)
    own = [(module, uses_of(module)) for module in found]
    return [module for module, uses in own if uses and all(used[weight] == uses[weight] for weight in uses)]


def uses_of(net: nn.Module) -> Counter[int]:
    """How often each weight is used, by its identity."""
    return Counter(id(weight) for _, weight in net.named_parameters(remove_duplicate=False))


@contextmanager
def blocked_gradient_sync(root: nn.Module, sharding: Sharding) -> Iterator[None]:
    """Inside, backward passes communicate only what the gradients' extent asks of a micro-batch that is not the last.

    Args:
        root: Module that holds every sharded network.
        sharding: Extents.
    """
    modules = [module for module in root.modules() if isinstance(module, FSDPModule)]

    def switch(on: bool) -> None:
        for module in modules:
            if sharding.gradients == "replica":
                module.set_requires_gradient_sync(on, recurse=False)
            elif sharding.gradients == "partial":
                module.set_requires_all_reduce(on, recurse=False)
            if sharding.parameters == "replica":
                module.set_reshard_after_backward(on, recurse=False)

    switch(False)
    try:
        yield
    finally:
        switch(True)
