"""A network in training with its optimizer, in a process of its own (extra ``ray``). `stand_ins` is the run's side."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple, Self

import torch
from internlm2_core.generation import Completion, Engine, Sampling
from internlm2_core.optim import decay_groups
from internlm2_core.training.finite import are_finite, moments
from internlm2_core.training.given import settings_of
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from internlm2_align.roles.remote import CPU, import_ray, moved
from internlm2_align.roles.shards import shards

Settings = Sequence[Mapping[str, Any]]
"""Of each parameter group: learning rate, decay and the rest, without the weights."""


class Precision(NamedTuple):
    """What the Trainer's precision has set in the run, to be set in the process too.

    Attributes:
        default: Default dtype of torch.
        autocast: That of autocast. None where it is off.
    """

    default: torch.dtype
    autocast: torch.dtype | None

    @classmethod
    def here(cls, device: str) -> Self:
        """Of this process, on a kind of device."""
        autocast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
        return cls(torch.get_default_dtype(), autocast)

    @contextmanager
    def at_work(self, device: str) -> Iterator[None]:
        """Inside, it is that of this process."""
        before = torch.get_default_dtype()
        torch.set_default_dtype(self.default)
        try:
            with torch.autocast(device, dtype=self.autocast, enabled=self.autocast is not None):
                yield
        finally:
            torch.set_default_dtype(before)


class Trained:
    """A network in training with its optimizer, in their process, on a GPU where it has one.

    Args:
        make: Makes the network.
        precision: In which it is made.
    """

    optimizer: Optimizer
    make_engine: Callable[[Any], Engine] | None = None

    def __init__(self, make: Callable[[], nn.Module], precision: Precision) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        with precision.at_work(self.device.type):
            self.net = make().to(self.device)
        self.answer: tuple[int, list[Tensor]] = (0, [])
        self.arrived: dict[Any, Any] = {}

    def forward(
        self, args: tuple[Any, ...], keywords: dict[str, Any], precision: Precision, trains: bool, number: int
    ) -> Any:
        """The network's answer, on the CPU.

        Args:
            args: Of the network.
            keywords: Of the network.
            precision: In which it computes.
            trains: Whether it is in training mode.
            number: Of the pass, whose graph is kept until the next one. 0 keeps none.
        """
        self.net.train(trains)
        with torch.set_grad_enabled(number > 0), precision.at_work(self.device.type):
            found = self.net(*moved(args, self.device), **moved(keywords, self.device))
        if number:
            self.answer = number, pytree.tree_leaves(found)
        return moved(found, CPU)

    def backward(self, number: int, gradients: Sequence[Tensor | None]) -> None:
        """Add to the gradients of the weights.

        Args:
            number: Of the pass, the last one with a graph.
            gradients: Of the tensors of its answer, [...] each. None for those that the loss does not need.
        """
        kept, parts = self.answer
        assert kept == number, f"the graph of pass {number} is not kept, that of pass {kept} is"
        pairs = [(p, g) for p, g in zip(parts, gradients, strict=True) if g is not None and p.requires_grad]
        self.answer = (0, [])
        torch.autograd.backward([part for part, _ in pairs], [gradient.to(self.device) for _, gradient in pairs])

    def optimize(self, make: Callable[..., Optimizer], weight_decay: float) -> tuple[dict[str, Any], Settings]:
        """Make the optimizer.

        Args:
            make: Makes it from parameter groups.
            weight_decay: Of the matrices.

        Returns:
            Its defaults, and the settings of its groups.
        """
        self.optimizer = make(decay_groups(self.net, weight_decay))
        return dict(self.optimizer.defaults), settings_of([self.optimizer])[0]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        self.optimizer.zero_grad()

    def clip_by_norm(self, limit: float) -> float:
        """Clip the gradients to a 2-norm, and give their norm before."""
        weights = [weight for group in self.optimizer.param_groups for weight in group["params"]]
        return float(nn.utils.clip_grad_norm_(weights, limit))

    def step(self, settings: Settings) -> bool:
        """Take a step, and say whether weights and moments are finite after it."""
        self.answer = (0, [])
        put_settings(self.optimizer, settings)
        self.optimizer.step()
        return are_finite([*self.net.parameters(), *moments(self.optimizer)])

    def part(self, kind: str, number: int, limit_bytes: int) -> dict[Any, Any]:
        """A part of the state on the CPU, by name. Empty after the last one.

        Args:
            kind: ``weights`` or ``moments``.
            number: Of the part, from 0.
            limit_bytes: Most bytes of a part.
        """
        state = self.net.state_dict() if kind == "weights" else self.optimizer.state_dict()["state"]
        found: dict[Any, Any] = moved(next(islice(shards(state.items(), limit_bytes), number, None), {}), CPU)
        return found

    def put_part(self, number: int, limit_bytes: int) -> list[Any]:
        """A part of the weights in the store of this machine, as a reference. Nothing after the last one.

        Args:
            number: Of the part, from 0.
            limit_bytes: Most bytes of a part.
        """
        part = self.part("weights", number, limit_bytes)
        return [import_ray().put(part)] if part else []

    def size(self) -> Any:
        """Of the network."""
        return self.net.size

    def generate(
        self, make_engine: Callable[[Any], Engine], prompts: Sequence[Sequence[int]], sampling: Sampling
    ) -> list[Completion]:
        """Answers of the network.

        Args:
            make_engine: Makes the engine. That of the first call is kept: it may have a state, as vLLM's has.
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.
        """
        self.make_engine = self.make_engine or make_engine
        return self.make_engine(self.net).generate(prompts, sampling)

    def groups(self, settings: Settings) -> Any:
        """The groups of the optimizer as its checkpoint has them."""
        put_settings(self.optimizer, settings)
        return self.optimizer.state_dict()["param_groups"]

    def take_weights(self, part: Mapping[str, Tensor]) -> list[str]:
        """Take some weights. Returns names that the network does not have."""
        return list(self.net.load_state_dict(part, strict=False).unexpected_keys)

    def take_moments(self, part: Mapping[Any, Any], groups: Any = None) -> None:
        """Take some moments by number of the weight. With the groups of a checkpoint they are complete."""
        self.arrived |= part
        if groups is not None:
            self.optimizer.load_state_dict({"state": self.arrived, "param_groups": groups})
            self.arrived = {}


def put_settings(optimizer: Optimizer, settings: Settings) -> None:
    """Give the groups of an optimizer their settings.

    Args:
        optimizer: What steps.
        settings: Of each of its groups.
    """
    for group, own in zip(optimizer.param_groups, settings, strict=True):
        group.update(own)
