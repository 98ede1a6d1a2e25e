"""Roles on Ray: models and the engines that sample are in processes of their own (extra ``ray``).

The frozen models always, critic and actor where it is asked for. The actor's weights go to the engines before each
sampling, from wherever it is, in parts of a limited size, so that no process holds a second copy of all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import torch
from internlm2_core.generation import Completion, LocalEngine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from torch import Tensor, nn

from internlm2_align.roles.local import FROZEN, Roles, local_roles
from internlm2_align.roles.remote import CPU, RemoteNetwork, RemoteRole, Resources, import_ray, moved
from internlm2_align.roles.shards import SHARD_BYTES, shards
from internlm2_align.roles.stand_ins import RemoteTrained

TRAINED = ("actor", "critic")
"""Roles that may be trained in processes of their own."""


def ray_roles(
    actor: str | Path,
    reward: str | Path,
    resources: Mapping[str, Resources | Mapping[str, Any] | None] | None = None,
    **keys: Any,
) -> Roles:
    """Roles from two folders. Reference and reward model are in processes of their own, which read the folders.

    Actor and critic are too, with their optimizers, where ``resources`` names them.

    Args:
        actor: As for `local_roles`.
        reward: As for `local_roles`.
        resources: What Ray reserves for each of the four roles, `Resources` or their arguments. By default the frozen
            ones get a CPU core each, and the others stay here.
        **keys: Of `local_roles`. ``offloaded`` must be empty: nothing of them is here.

    Raises:
        ValueError: If ``resources`` names another role or restarts a trained one, ``offloaded`` is given, or
            `local_roles` refuses something.
    """
    given = {name: each for name, each in (resources or {}).items() if each is not None}
    if others := set(given) - {*FROZEN, *TRAINED}:
        known = ", ".join((*FROZEN, *TRAINED))
        raise ValueError(f"resources={sorted(others)} must be among the roles on Ray: {known}.")
    if offloaded := list(keys.get("offloaded", ())):
        raise ValueError(f"offloaded={offloaded} must be empty: the frozen models are not in this process.")
    local = local_roles(actor, reward, **keys)
    made: dict[str, Any] = {
        name: partial(RemoteNetwork, name, getattr(local, name), resources_of(given.get(name, {}))) for name in FROZEN
    }
    apart = [name for name in TRAINED if name in given]
    made |= {name: trained_apart(name, getattr(local, name), resources_of(given[name])) for name in apart}
    return replace(local, **made, apart=tuple(apart))


def trained_apart(name: str, make: Callable[[], nn.Module], resources: Resources) -> Callable[[], nn.Module]:
    """Maker of what stands for a network that is trained in a process of its own.

    Args:
        name: Of the role.
        make: Makes the network.
        resources: Of the process.

    Raises:
        ValueError: If the process is to be started again.
    """
    if resources.restarts:
        raise ValueError(
            f"restarts={resources.restarts} of {name} must be 0: its steps since the last checkpoint end with its "
            "process. A run that is started again resumes from there."
        )
    return partial(RemoteTrained, name, make, resources)


def resources_of(given: Resources | Mapping[str, Any]) -> Resources:
    """Resources, as they are or from their arguments."""
    return given if isinstance(given, Resources) else Resources(**given)


class RayEngines:
    """Engines in processes of their own, which share the prompts. To be given as ``engine``.

    Args:
        count: Number of processes.
        shard_bytes: Most bytes of weights that are under way at once. A larger matrix goes alone.
        resources: Of each process. None takes a CPU core.
        **options: Of `LocalEngine`.
    """

    def __init__(
        self,
        count: int = 1,
        shard_bytes: int = SHARD_BYTES,
        resources: Resources | Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if count < 1 or shard_bytes < 1:
            raise ValueError(f"count={count} and shard_bytes={shard_bytes} must be 1 or more.")
        self.shard_bytes, self.options = shard_bytes, options
        self.net: LanguageModel | RemoteTrained | None = None
        self.roles = [
            RemoteRole(f"engine {n}", Sampler, resources_of(resources or {}), self._fill) for n in range(count)
        ]

    def __call__(self, net: LanguageModel | RemoteTrained) -> Self:
        """The engines with the weights of a network.

        Args:
            net: Whole on this rank, or in a process of its own.
        """
        self.net = net
        if running := [role for role in self.roles if role.handle is not None]:
            self._send(running)  # The others get them when they start.
        return self

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order. Each engine draws by a seed of its own, the first by that given.

        Args:
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.

        Raises:
            LostRoleError: If a process has ended and may not be started again.
        """
        calls = []
        for number, role in enumerate(self.roles):
            if mine := [list(prompt) for prompt in prompts[number :: len(self.roles)]]:
                calls.append((role, (mine, seeded(sampling, number))))
        begun = [role.start("generate", *args) for role, args in calls]
        found: list[Completion] = [Completion()] * len(prompts)
        for number, ((role, args), each) in enumerate(zip(calls, begun, strict=True)):
            found[number :: len(self.roles)] = role.result(each, "generate", *args)
        return found

    def _fill(self, role: RemoteRole) -> None:
        """The weights of the present network, for a process that has just started."""
        self._send([role])

    def _send(self, roles: Sequence[RemoteRole]) -> None:
        assert self.net is not None
        for part in self._parts():
            begun = [role.start("load", self.net.size, self.options, part) for role in roles]
            for role, each in zip(roles, begun, strict=True):
                role.result(each, "load", self.net.size, self.options, part)

    def _parts(self) -> Iterator[Any]:
        """References to the weights: one part of the store of a machine at a time, read by all of its engines."""
        if isinstance(self.net, RemoteTrained):
            yield from self.net.references(self.shard_bytes)
        elif self.net is not None:
            ray = import_ray()
            for shard in shards(self.net.named_parameters(), self.shard_bytes):
                yield ray.put(moved(shard, CPU))

    def arguments(self) -> dict[str, Any]:
        """Those that a checkpoint file can hold."""
        kept = {"count": len(self.roles), "shard_bytes": self.shard_bytes, "resources": self.roles[0].resources}
        return kept | self.options


class Sampler:
    """The engine in its process."""

    engine: LocalEngine | None = None

    def load(self, size: ModelSize, options: Mapping[str, Any], part: Mapping[str, Tensor]) -> None:
        """Take up some weights.

        Args:
            size: Of the network, which the first call makes.
            options: Of `LocalEngine`.
            part: Weights by name, [...] each.
        """
        if self.engine is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
            like = next(iter(part.values()))
            net = LanguageModel(size).to(device, like.dtype).requires_grad_(False)
            self.engine = LocalEngine(net, **options)
        with torch.no_grad():
            own = dict(self.engine.net.named_parameters())
            for name, weight in part.items():
                own[name].copy_(weight)

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """As every engine does."""
        assert self.engine is not None, "weights come first"
        return self.engine.generate(prompts, sampling)


def seeded(sampling: Sampling, number: int) -> Sampling:
    """The sampling of one of several engines.

    Args:
        sampling: Of all.
        number: Of the engine, from 0.
    """
    return sampling if sampling.seed is None else replace(sampling, seed=sampling.seed + number * 15_485_863)
