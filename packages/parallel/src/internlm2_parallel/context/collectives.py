"""Differentiable collectives over the context ranks.

Every rank's loss counts (gradients are averaged over the context ranks afterwards), so each backward is the true
transpose: a gather scatters the *sum* of gradients, a sum sums them.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

Group = dist.ProcessGroup


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: int, group: Group) -> Tensor:
        ctx.dim, ctx.group = dim, group
        ranks = dist.get_world_size(group)
        x = x.movedim(dim, 0).contiguous()
        joined = x.new_empty(ranks * x.shape[0], *x.shape[1:])
        dist.all_gather_into_tensor(joined, x, group=group)
        return joined.movedim(0, dim)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        grad = grads[0].movedim(ctx.dim, 0).contiguous()
        part = grad.new_empty(grad.shape[0] // dist.get_world_size(ctx.group), *grad.shape[1:])
        dist.reduce_scatter_tensor(part, grad, group=ctx.group)
        return part.movedim(0, ctx.dim), None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Group) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].clone()
        dist.all_reduce(grad, group=ctx.group)
        return grad, None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scatter: int, gather: int, group: Group) -> Tensor:
        ctx.scatter, ctx.gather, ctx.group = scatter, gather, group
        return _exchanged(x, scatter, gather, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        return _exchanged(grads[0], ctx.gather, ctx.scatter, ctx.group), None, None, None


def _exchanged(x: Tensor, scatter: int, gather: int, group: Group) -> Tensor:
    parts = torch.stack(x.chunk(dist.get_world_size(group), scatter)).contiguous()
    received = torch.empty_like(parts)
    dist.all_to_all_single(received, parts, group=group)
    return torch.cat(received.unbind(0), gather)


class _Pass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: int, group: Group) -> Tensor:
        ctx.step, ctx.group = step, group
        return _passed(x, step, group)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return _passed(grads[0], -ctx.step, ctx.group), None, None


def _passed(x: Tensor, step: int, group: Group) -> Tensor:
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    x, received = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format)
    target = dist.get_global_rank(group, (rank + step) % ranks)
    source = dist.get_global_rank(group, (rank - step) % ranks)
    ops = [dist.P2POp(dist.isend, x, target, group), dist.P2POp(dist.irecv, received, source, group)]
    for work in dist.batch_isend_irecv(ops):
        work.wait()
    return received


def gather(x: Tensor, dim: int, group: Group) -> Tensor:
    """Join the ranks' tensors along ``dim`` in order of rank.

    Args:
        x: [*] of any shape, the same on every rank.
        dim: Dimension that grows.
        group: The ranks.
    """
    return _Gather.apply(x, dim, group)


def sum_over(x: Tensor, group: Group) -> Tensor:
    """Sum over the ranks.

    Args:
        x: [*] of any shape.
        group: The ranks.
    """
    return _Sum.apply(x, group)


def exchange(x: Tensor, scatter: int, gather: int, group: Group) -> Tensor:
    """All-to-all.

    Args:
        x: [*] of any shape.
        scatter: Dimension that is cut over the ranks.
        gather: Dimension that is joined.
        group: The ranks.
    """
    return _Exchange.apply(x, scatter, gather, group)


def pass_on(x: Tensor, step: int, group: Group) -> Tensor:
    """Send round the ring.

    Args:
        x: [*] of any shape.
        step: Distance to the rank that receives.
        group: The ranks of the ring.

    Returns:
        What the rank ``step`` before sent.
    """
    return _Pass.apply(x, step, group)
