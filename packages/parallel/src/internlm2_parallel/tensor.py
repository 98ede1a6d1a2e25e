"""Apply a tensor-parallel plan to a network in place."""

from collections.abc import Callable
from contextlib import ExitStack
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, distribute_tensor
from torch.distributed.tensor.experimental import implicit_replication
from torch.distributed.tensor.parallel import ParallelStyle, PrepareModuleOutput, loss_parallel, parallelize_module
from torch.utils import _pytree as pytree

from internlm2_parallel.names import tied
from internlm2_parallel.pipeline.stages import Arriving, PassThrough
from internlm2_parallel.plan import TensorPlan


def split_matrices(net: nn.Module, mesh: DeviceMesh, plan: TensorPlan) -> None:
    """Make every weight of ``net`` a DTensor on ``mesh``: split where the plan names it, else a full copy.

    Args:
        net: Network whose submodule names the plan's patterns match.
        mesh: One-dimensional mesh of the tensor ranks.
        plan: Patterns of submodule names, and how each is split.

    Raises:
        ValueError: If the plan matches nothing.
    """
    names = [name for name, module in net.named_modules() if name and not isinstance(module, PassThrough)]
    matched = {name: style for name in names if (style := _style_of(name, plan)) is not None}
    if not matched:
        raise ValueError(
            f"No pattern of the tensor plan ({', '.join(plan)}) matches a submodule of {type(net).__name__} "
            f"({', '.join(names[:4])}, ...). plan must hold patterns of its names, or tensor be 1."
        )
    frozen, ties = [name for name, weight in net.named_parameters() if not weight.requires_grad], tied(net)
    for name, style in matched.items():
        module = net.get_submodule(name)
        parallelize_module(module, mesh, _arrival(style) if isinstance(module, Arriving) else style)
    for module in list(net.modules()):
        _copy_remaining(module, mesh)
    for name in frozen:  # torch's style of sequence parallel thaws them
        net.get_parameter(name).requires_grad_(False)
    for names in ties:
        _tie_again(net, names)
    net.register_forward_hook(_to_plain)
    if (trunk := dict(net.named_children()).get("model")) is not None:
        trunk.register_forward_hook(lambda module, args, hidden: _PlainGradient.apply(hidden))


def _tie_again(net: nn.Module, names: list[str]) -> None:
    """One weight under several names, after each of its modules was split by itself.

    Args:
        net: The network.
        names: Of the weight.

    Raises:
        ValueError: If the plan splits it in two ways.
    """
    first, *others = names
    weight = net.get_parameter(first)
    for name in others:
        other = net.get_parameter(name)
        if not (isinstance(weight, DTensor) and isinstance(other, DTensor) and weight.placements == other.placements):
            raise ValueError(
                f"{name} is tied to {first}, and the tensor plan splits them in two ways. It must split both alike, or "
                "tensor be 1."
            )
        path, _, own = name.rpartition(".")
        net.get_submodule(path).register_parameter(own, weight)


def _style_of(name: str, plan: TensorPlan) -> Any:
    return next((style for pattern, style in plan.items() if fnmatchcase(name, pattern)), None)


def _arrival(embedding: Any) -> ParallelStyle:
    """Hidden states of the stage before, laid out as the embedding's would be."""
    return PrepareModuleOutput(output_layouts=(Replicate(),), desired_output_layouts=embedding.output_layouts)


def _copy_remaining(module: nn.Module, mesh: DeviceMesh) -> None:
    """Weights outside the plan become replicated DTensors, so that one optimizer call takes them all."""
    plain = [(name, w) for name, w in module.named_parameters(recurse=False) if not isinstance(w, DTensor)]
    for name, weight in plain:
        copied = distribute_tensor(weight.detach(), mesh, [Replicate()])
        module.register_parameter(name, nn.Parameter(copied, requires_grad=weight.requires_grad))
    if plain:
        module.register_forward_pre_hook(_inputs_on(mesh))
        module.register_forward_hook(_to_plain)


def _inputs_on(mesh: DeviceMesh) -> Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]:
    def convert(value: Any) -> Any:
        if isinstance(value, Tensor) and not isinstance(value, DTensor):
            return DTensor.from_local(value, mesh, [Replicate()], run_check=False)
        return value

    return lambda module, args: tuple(convert(value) for value in args)


class _PlainGradient(torch.autograd.Function):
    """Identity. A head that uses its weight without calling its module sends back the gradient as a DTensor."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _to_plain(nn.Identity(), (), grads[0])


def _to_plain(module: nn.Module, args: Any, output: Any) -> Any:
    """Results leave as plain tensors, so that nobody outside has to know of DTensors."""

    def convert(value: Any) -> Any:
        if not isinstance(value, DTensor):
            return value
        if all(placement.is_replicate() for placement in value.placements):
            return value.to_local()
        return value.full_tensor()

    return pytree.tree_map(convert, output)


class TensorContext:
    """Forward and backward of a split network run inside: cross-entropy over split logits, plain tensors as copies.

    Re-entrant, which torch's two contexts are not: a backward pass inside a training step enters it again.
    """

    def __init__(self) -> None:
        self.depth, self.stack = 0, ExitStack()

    def __enter__(self) -> None:
        if not self.depth:
            self.stack.enter_context(loss_parallel())
            self.stack.enter_context(implicit_replication())
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1
        if not self.depth:
            self.stack.close()


def shard_of(full: Tensor, like: DTensor) -> Tensor:
    """The part of ``full`` that this rank holds of a DTensor, without communication.

    Args:
        full: [*] of the whole shape.
        like: The DTensor.
    """
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None).to_local()


__all__ = ["TensorContext", "shard_of", "split_matrices"]
