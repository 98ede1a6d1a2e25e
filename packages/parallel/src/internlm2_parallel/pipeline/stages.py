"""Cutting a network into stages without renaming a weight."""

import copy
from collections.abc import Iterable
from typing import Any

import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor


class PassThrough(nn.Module):
    """In the place of a module of another stage. Returns its first argument."""

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """What came in."""
        return x


class Arriving(nn.Module):
    """In the place of the embedding. Returns the hidden states of the stage before."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None

    def forward(self, input_ids: Tensor) -> Tensor:
        """Hidden states that the stage put here. The ids are not read."""
        assert self.hidden is not None
        return self.hidden


def shell_of(module: nn.Module) -> nn.Module:
    """Another module with the same children, weights and hooks. Changing its children leaves the first alone."""
    shell = copy.copy(module)
    for name, value in vars(module).items():
        if isinstance(value, dict):
            shell.__dict__[name] = value.copy()
    return shell


def cut(net: nn.Module, blocks: Iterable[int], is_first: bool, is_last: bool) -> nn.Module:
    """A shell of ``net`` with some blocks, and the ends if it is the first or last stage.

    Args:
        net: Has a child ``model`` (tok_embeddings, layers, norm) and perhaps a head beside it.
        blocks: Indices that stay.
        is_first: Whether the embedding stays.
        is_last: Whether norm and head stay.
    """
    kept = set(blocks)
    shell = shell_of(net)
    trunk = shell_of(net.get_submodule("model"))
    layers = trunk.get_submodule("layers").children()
    trunk.layers = nn.ModuleList(block if index in kept else PassThrough() for index, block in enumerate(layers))
    if not is_first:
        trunk.tok_embeddings = Arriving()
    if not is_last:
        trunk.norm = PassThrough()
        for name, _ in list(net.named_children()):
            if name != "model":
                setattr(shell, name, PassThrough())
    shell.model = trunk
    return shell


def keep_only(net: nn.Module, blocks: Iterable[int], has_first: bool, has_last: bool) -> None:
    """Drop the weights of other ranks from ``net`` in place. Names of the rest stay.

    Args:
        net: As `cut` takes it.
        blocks: Indices that stay.
        has_first: Whether the embedding stays.
        has_last: Whether norm and head stay.
    """
    remains = cut(net, blocks, has_first, has_last)
    net.__dict__["_modules"] = remains.__dict__["_modules"]


def refuse_idle(net: nn.Module, rank: int, ranks: int, blocks: Iterable[int], has_first: bool, has_last: bool) -> None:
    """Refuse a rank of the pipeline that would train nothing: its optimizer has no weights, and no gradient leaves it.

    Args:
        net: The whole network.
        rank: The rank of the pipeline.
        ranks: How many there are.
        blocks: Indices of its blocks.
        has_first: Whether it has the embedding.
        has_last: Whether it has norm and head.

    Raises:
        ValueError: If all its weights are frozen, and others are not.
    """
    own = cut(net, blocks, has_first, has_last)
    is_idle = not any(weight.requires_grad for weight in own.parameters())
    if is_idle and any(weight.requires_grad for weight in net.parameters()):
        raise ValueError(
            f"Rank {rank} of pipeline={ranks} would have frozen weights alone. Fewer stages, or other weights frozen, "
            "leave each rank something to train."
        )


def whole_state(net: nn.Module, pipeline: DeviceMesh) -> dict[str, Tensor]:
    """All weights, whole, on the CPU of the first rank, nothing on the others. Collective.

    Args:
        net: The network, split in any way.
        pipeline: Ranks that hold other blocks.
    """
    here = pipeline.get_local_rank() == 0
    own: dict[str, Tensor] = {}
    for name, weight in net.state_dict().items():
        whole = weight.full_tensor() if isinstance(weight, DTensor) else weight
        own[name] = whole.detach().cpu()
    stages: list[dict[str, Tensor]] | None = [{} for _ in range(pipeline.size())] if here else None
    dist.gather_object(own, stages, group=pipeline.get_group(), group_dst=0)
    if dist.get_rank() != 0 or stages is None:
        return {}
    return {name: tensor for stage in stages for name, tensor in stage.items()}
