"""Networks that are trained in processes of their own: weights, gradients and optimizer are there (extra ``ray``).

What stands for them in the run looks like a network and an optimizer, so that nothing else has to know:

    run                                                process of the role
    values = critic(row)          row ->               values, whose graph is kept
    loss(values).backward()       their gradient ->    backward pass
    clip, optimizer.step()        limit, settings ->   the same with the gradients there
    state_dict, load_state_dict   <- parts ->          weights and moments

Checkpoints have the names and shapes that those of one process have, so either continues the other. A process that ends
takes its steps since the last checkpoint with it. It is not started again: the run ends, and resumes from there.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
from internlm2_core.generation import Completion, Engine, Sampling
from internlm2_core.optim import decay_groups
from internlm2_core.sizes import ModelSize
from internlm2_core.training.given import settings_of
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from internlm2_align.roles.remote import CPU, Resources, StandIn, moved
from internlm2_align.roles.shards import SHARD_BYTES, shards
from internlm2_align.roles.trained import Precision, Trained, put_settings


class RemoteTrained(StandIn):
    """Stands for a network that is trained in a process of its own. Its optimizer is a `RemoteOptimizer`.

    Args:
        name: Of the role.
        make: Makes the network, in its process.
        resources: Of the process.
        shard_bytes: Most bytes of state that are under way at once.

    Attributes:
        weights: A scalar that stands for all weights: nan where one in the process, or a moment, is not finite. Checks
            of what is trained here see it so.
    """

    def __init__(
        self, name: str, make: Callable[[], nn.Module], resources: Resources, shard_bytes: int = SHARD_BYTES
    ) -> None:
        super().__init__(name, partial(Trained, make, Precision.here("cpu")), resources)
        self.weights = nn.Parameter(torch.zeros(()))
        self.shard_bytes, self.passes = shard_bytes, 0

    def forward(self, *args: Any, **keywords: Any) -> Any:
        """What the network answers to the same arguments. The graph of the last pass is kept for a backward pass.

        Raises:
            LostRoleError: If its process has ended.
        """
        number = 0
        if torch.is_grad_enabled() and self.weights.requires_grad:
            number = self.passes = self.passes + 1
        precision = Precision.here(self.device.type)
        found = self.role.call("forward", moved(args, CPU), moved(keywords, CPU), precision, self.training, number)
        parts, tree = pytree.tree_flatten(moved(found, self.device))
        if number:
            parts = Answer.apply(self.weights, self.role, number, *parts)  # type: ignore[no-untyped-call]
        return pytree.tree_unflatten(parts, tree)

    @cached_property
    def size(self) -> ModelSize:
        """Shape of the network."""
        found: ModelSize = self.role.call("size")
        return found

    def references(self, limit_bytes: int) -> Iterator[Any]:
        """All weights in parts, each by reference to where the process has put it. They do not pass through the run.

        Args:
            limit_bytes: Most bytes of a part.
        """
        number = 0
        while found := self.role.call("put_part", number, limit_bytes):
            yield from found
            number += 1

    def state(self, kind: str) -> Iterator[tuple[Any, Any]]:
        """``weights`` by name or ``moments`` by number of the weight, on the CPU, from the process."""
        number = 0
        while part := self.role.call("part", kind, number, self.shard_bytes):
            yield from part.items()
            number += 1

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        destination.update((prefix + name, weight) for name, weight in self.state("weights"))

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: Any,
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        own = ((name.removeprefix(prefix), value) for name, value in state_dict.items() if name.startswith(prefix))
        for part in shards(own, self.shard_bytes):
            unexpected_keys += [prefix + name for name in self.role.call("take_weights", moved(part, CPU))]


class Answer(torch.autograd.Function):
    """Passes an answer on, and the gradients of its parts back to the process where its graph is."""

    @staticmethod
    def forward(ctx: Any, weights: Tensor, role: Any, number: int, *parts: Tensor) -> tuple[Tensor, ...]:  # noqa: D102
        ctx.role, ctx.number = role, number
        ctx.set_materialize_grads(False)
        return tuple(part.view_as(part) for part in parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[None, ...]:  # noqa: D102
        ctx.role.call("backward", ctx.number, moved(gradients, CPU))
        return (None, None, None, *(None for _ in gradients))


class RemoteOptimizer(Optimizer):
    """Stands for the optimizer of a `RemoteTrained`. Its settings are here, and go along with each step.

    Args:
        net: What it steps.
        make: Makes the optimizer from parameter groups, in the process.
        weight_decay: Of the matrices.
    """

    def __init__(self, net: RemoteTrained, make: Callable[..., Optimizer], weight_decay: float) -> None:
        self.net = net
        defaults, settings = net.role.call("optimize", make, weight_decay)
        stand_ins: list[list[Tensor]] = [[net.weights], *([] for _ in settings[1:])]
        groups = [{**each, "params": weights} for each, weights in zip(settings, stand_ins, strict=True)]
        super().__init__(groups, defaults)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients in the process."""
        self.net.role.call("zero_grad")

    def clip_by_norm(self, max_norm: float) -> Tensor:
        """Clip the gradients in the process.

        Args:
            max_norm: Limit of the 2-norm. 0 clips nothing.

        Returns:
            Their norm before, a scalar.
        """
        norm = self.net.role.call("clip_by_norm", max_norm or torch.inf)
        return torch.tensor(norm, dtype=torch.float32, device=self.net.device)

    def step(self, closure: Any = None) -> Any:
        """Take a step in the process, with the present settings.

        Args:
            closure: Called before, as torch's optimizers do.
        """
        result = None if closure is None else closure()
        is_finite = self.net.role.call("step", settings_of([self])[0])
        self.net.weights.data.fill_(0.0 if is_finite else torch.nan)
        return result

    def state_dict(self) -> dict[str, Any]:
        """As that of the optimizer in the process."""
        return {
            "state": dict(self.net.state("moments")),
            "param_groups": self.net.role.call("groups", settings_of([self])[0]),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Bring moments to the process, and take up the settings."""
        groups = state_dict["param_groups"]
        put_settings(self, [{key: value for key, value in group.items() if key != "params"} for group in groups])
        for part in shards(state_dict["state"].items(), self.net.shard_bytes):
            self.net.role.call("take_moments", moved(part, CPU))
        self.net.role.call("take_moments", {}, groups)


class EngineThere:
    """An engine in the process of the network that it samples from.

    Args:
        make: Makes the engine, in the process.
        net: Stands for the network.
    """

    def __init__(self, make: Callable[[Any], Engine], net: RemoteTrained) -> None:
        self.make, self.net = make, net

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Args:
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.
        """
        found: list[Completion] = self.net.role.call("generate", self.make, list(prompts), sampling)
        return found


def make_optimizer(net: nn.Module, make: Callable[..., Optimizer], weight_decay: float) -> Optimizer:
    """The optimizer of a network, wherever that is trained. Norms do not decay.

    Args:
        net: The network, or what stands for it.
        make: Makes the optimizer from parameter groups.
        weight_decay: Of the matrices.
    """
    if isinstance(net, RemoteTrained):
        return RemoteOptimizer(net, make, weight_decay)
    return make(decay_groups(net, weight_decay))
