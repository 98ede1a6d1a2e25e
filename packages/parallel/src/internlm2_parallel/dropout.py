"""Dropout draws the masks of one process, or it is refused.

Each rank draws from its own random state. Ranks that read other rows may do so: every row has a mask. Ranks that share
rows need parts of one mask, and a stage of a pipeline needs the draws of the stages before it. They do not have them.

==============================  =====================================================================================
layout                          dropout
==============================  =====================================================================================
replicate, shard                as in one process that begins the share of each rank with the same random state
tensor                          the same for whole hidden states, refused inside attention and feed-forward
context, pipeline, sequence     refused
==============================  =====================================================================================

Modules of torch are refused before training. Functions, such as ``F.dropout``, are noticed in the first forward pass
with gradients: it moves the random state. A generator of the module's own is not noticed.
"""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import lightning as L
import torch
import torch.distributed as dist
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.nn.modules.dropout import _DropoutNd
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from internlm2_parallel.context.attends import OverRanks
from internlm2_parallel.layout import Layout
from internlm2_parallel.mesh import Ranks
from internlm2_parallel.names import is_compiled


def degrees_without_masks(layout: Layout) -> dict[str, str]:
    """Degrees under which no rank has whole rows of all blocks, each with the value that it must have instead."""
    asked = {
        f"context={layout.context}": ("context=1", layout.context != 1),
        f"pipeline={layout.pipeline}": ("pipeline=1", layout.pipeline != 1),
        "sequence_parallel=True": ("sequence_parallel=False", layout.sequence_parallel),
    }
    return {degree: needed for degree, (needed, is_wrong) in asked.items() if is_wrong}


def rate_of(module: nn.Module) -> float:
    """Share of its numbers that a module of torch drops in training. 0 for one that drops nothing."""
    if isinstance(module, _DropoutNd):
        return module.p
    return float(module.dropout) if isinstance(module, nn.MultiheadAttention | nn.RNNBase) else 0.0


def refuse_dropout(nets: Collection[str], layout: Layout, trainer: L.Trainer) -> None:
    """Refuse modules of torch that would draw other masks in training than in one process.

    Args:
        nets: Names of networks of the LightningModule, before they are split.
        layout: Degrees.
        trainer: Of the LightningModule.

    Raises:
        ValueError: If one of them drops anything.
    """
    wrong = degrees_without_masks(layout)
    if not wrong or trainer.state.fn != TrainerFn.FITTING:
        return
    for net in (net for name, net in trainer.lightning_module.named_children() if name in nets):
        for name, module in net.named_modules():
            if module.training and (rate := rate_of(module)):
                raise ValueError(
                    f"{name} of {type(net).__name__} is a {type(module).__name__} of p={rate:g}, and ranks of "
                    f"{' and '.join(wrong)} would draw other masks than one process. It needs p=0, or "
                    f"{' and '.join(wrong.values())}."
                )


@contextmanager
def watching_draws(net: nn.Module, ranks: Ranks) -> Iterator[None]:
    """Around splitting a network: notice random numbers in its first forward pass, and refuse those of other masks.

    Args:
        net: The network. Errors name its modules as they were before.
        ranks: The meshes of the layout.
    """
    kind = type(net).__name__
    names = {module: f"{name} of {kind}" if name else kind for name, module in net.named_modules()}
    yield
    if degrees_without_masks(ranks.layout) or ranks.layout.tensor > 1:
        Draws(net, ranks, names)


class Call(NamedTuple):
    """A module that is computing.

    Attributes:
        module: The module.
        states: Random states before it.
        draws: Calls that had drawn before it.
        values: What it was given, and what the modules that it has called gave it.
    """

    module: nn.Module
    states: list[Tensor]
    draws: int
    values: list[Any]


class Draws:
    """The hooks of one network. They are removed after the first pass, but for those of what is called from outside.

    Args:
        net: The network, split.
        ranks: The meshes of the layout.
        names: What errors call its modules.
    """

    def __init__(self, net: nn.Module, ranks: Ranks, names: dict[nn.Module, str]) -> None:
        self.ranks, self.wrong = ranks, degrees_without_masks(ranks.layout)
        self.trunk: Any = dict(net.named_children()).get("model", net)
        self.names, self.calls = names, list[Call]()
        self.handles: dict[nn.Module, tuple[RemovableHandle, RemovableHandle]] = {}
        self.passed, self.outermost = set[nn.Module](), set[nn.Module]()
        self.complaints, self.draws = list[str](), 0
        compiled = [f"{name}." for name, module in net.named_modules() if is_compiled(module)]
        for name, module in net.named_modules():
            if f"{name}.".startswith(tuple(compiled)):  # The compiler would trace the hooks.
                continue
            self.names.setdefault(module, name)
            self.handles[module] = (
                module.register_forward_pre_hook(self.enter, prepend=True, with_kwargs=True),
                module.register_forward_hook(self.leave),
            )

    def enter(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Before a module computes."""
        if self.calls or torch.is_grad_enabled():
            self.calls.append(Call(module, random_states(), self.draws, [args, kwargs]))

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        """After it.

        Raises:
            ValueError: If masks are others than in one process. In the first pass on all ranks of the same rows.
        """
        if not self.calls:
            return
        while (call := self.calls.pop()).module is not module:
            continue  # Recomputation stops modules in the middle.
        if self.draws == call.draws and not all(map(torch.equal, call.states, random_states())):
            self.draws += 1
            self.judge(call)
        if not self.calls:
            self.conclude(module)
            return
        self.passed.add(module)
        if isinstance(module, OverRanks):
            self.try_replaced(module, *args)
        if self.ranks.layout.tensor > 1:
            self.calls[-1].values.append(output)

    @torch.no_grad()
    def try_replaced(self, attend: OverRanks, q: Tensor, k: Tensor, v: Tensor, segments: Any) -> None:
        """Call what a module has replaced, on one row of the tokens of this rank, to see whether it draws."""
        positions = torch.arange(q.shape[1], device=q.device)[None]
        attend.inner(q[:1], k[:1], v[:1], self.trunk.segments_of(positions))

    def judge(self, call: Call) -> None:
        """Complain of draws in a module, unless they are those of one process. Collective among tensor ranks."""
        who = f"{self.names[call.module]} draws random numbers in its forward pass, as dropout does"
        tensor = f"tensor={self.ranks.layout.tensor}"
        if self.wrong:
            self.complaints.append(
                f"{who}, and ranks of {' and '.join(self.wrong)} would draw others than one process. Its dropout must "
                f"be 0, or {' and '.join(self.wrong.values())}."
            )
        elif call.module in self.outermost:
            self.complaints.append(
                f"{who}, but not from its first on. Under {tensor} it must do so from there, or never."
            )
        elif not self.are_alike(call.states, 0.0):
            self.complaints.append(
                f"{who}, and the ranks of {tensor} have other random states each. They need the same seed, or tensor=1."
            )
        elif not self.are_alike([some_of(value) for value in tensors_in(call.values)], 1e-2):
            self.complaints.append(
                f"{who}, for values that {tensor} ranks have split, and they would draw others than one process. Its "
                "dropout must be 0, or be of whole hidden states, or tensor=1."
            )

    def are_alike(self, values: list[Tensor], tolerance: float) -> bool:
        """Whether all tensor ranks have the same values, up to a share of their size. Collective among them."""
        every: list[list[Tensor]] = [[] for _ in range(self.ranks.tensor.size())]
        dist.all_gather_object(every, [value.cpu() for value in values], group=self.ranks.tensor.get_group())
        return all(
            len(first) == len(other) and bool(((first - other).abs() <= tolerance * first.abs().amax()).all())
            for values in every
            for first, other in zip(every[0], values, strict=True)
        )

    def conclude(self, outermost: nn.Module) -> None:
        """End a pass. The first is collective among ranks that read the same rows."""
        told, is_first = self.complaints, outermost not in self.outermost
        for mesh in (self.ranks.tensor, self.ranks.context, self.ranks.pipeline) if is_first else ():
            every: list[list[str]] = [[] for _ in range(mesh.size())]
            dist.all_gather_object(every, told, group=mesh.get_group())
            told = [complaint for complaints in every for complaint in complaints]
        if told:
            raise ValueError(told[0])
        self.outermost.add(outermost)
        for module in self.handles.keys() & (self.passed | ({outermost} if self.draws else set())):
            for handle in self.handles.pop(module):
                handle.remove()


def random_states() -> list[Tensor]:
    """States of the generators that functions draw from unless they are told another, [bytes] uint8 each."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_initialized() else [])]


def tensors_in(values: list[Any]) -> list[Tensor]:
    """Parts that this rank has of the tensors of numbers in nested containers, [...] each."""
    found = [value for value in pytree.tree_leaves(values) if isinstance(value, Tensor) and value.is_floating_point()]
    return [value.to_local() if isinstance(value, DTensor) else value for value in found if value.numel()]


def some_of(value: Tensor) -> Tensor:
    """A few numbers that tell a tensor from others, [few] float32.

    Args:
        value: [...].
    """
    return value.detach().flatten()[:: max(1, value.numel() // 256)].float()
