"""A role in a Ray actor: a process of its own, with devices of its own, on this machine or another one (extra ``ray``).

A role that dies is started again, if it may be, or ends the run in an error with its name.
"""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)

CPU = torch.device("cpu")


class LostRoleError(RuntimeError):
    """The process of a role has ended, and may not be started again."""


@dataclass(frozen=True)
class Resources:
    """What Ray reserves for the process of a role.

    Attributes:
        num_cpus: CPU cores.
        num_gpus: GPUs. A part of one lets roles share it.
        resources: Of one's own, such as ``{"big": 1}``.
        restarts: How often a process that has ended is started again.
    """

    num_cpus: float = 1
    num_gpus: float = 0
    resources: Mapping[str, float] = field(default_factory=dict)
    restarts: int = 0


class RemoteRole:
    """A process that holds an object, and calls its methods.

    Args:
        name: Of the role, for errors.
        make: Makes the object, in the process.
        resources: Of the process.
        prepare: Called with the role after each start, before anything else.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Any],
        resources: Resources,
        prepare: Callable[["RemoteRole"], None] | None = None,
    ) -> None:
        self.name, self.make, self.resources, self.prepare = name, make, resources, prepare
        self.restarts = resources.restarts
        self.handle: Any = None

    def call(self, method: str, *args: Any, **keywords: Any) -> Any:
        """The result of a method of the object.

        Args:
            method: Its name.
            *args: Arguments. Tensors are on the CPU.
            **keywords: Arguments.

        Raises:
            LostRoleError: If the process has ended and may not be started again.
        """
        return self.result(self.start(method, *args, **keywords), method, *args, **keywords)

    def start(self, method: str, *args: Any, **keywords: Any) -> Any:
        """Begin a call, as `call`. `result` waits for its end."""
        self._run()
        return self.handle.call.remote(method, *args, **keywords)

    def result(self, begun: Any, method: str, *args: Any, **keywords: Any) -> Any:
        """Wait for a call that `start` has begun. It is begun again where the process was started again.

        Args:
            begun: What `start` has returned.
            method: As for `call`.
            *args: As for `call`.
            **keywords: As for `call`.

        Raises:
            LostRoleError: If the process of the role is lost, see `call`.
        """
        ray = import_ray()
        while True:
            try:
                return ray.get(begun)
            except ray.exceptions.RayActorError as error:
                if not self.restarts:
                    raise LostRoleError(
                        f"The process of the role {self.name} has ended, and restarts={self.resources.restarts} are "
                        "used up. Its machine may be out of memory. A run that is started again resumes."
                    ) from error
                self.restarts, self.handle = self.restarts - 1, None
                log.warning("the process of the role %s has ended and is started again", self.name)
                begun = self.start(method, *args, **keywords)

    def _run(self) -> None:
        if self.handle is None:
            ray = import_ray()
            asked = asdict(self.resources)
            del asked["restarts"]
            self.handle = ray.remote(Holder).options(**asked).remote(self.make)
            if self.prepare is not None:
                self.prepare(self)


class Holder:
    """What runs in the process.

    Args:
        make: Makes the object.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        torch.set_num_threads(max(1, int(os.environ.get("OMP_NUM_THREADS", "1"))))
        self.object = make()

    def call(self, method: str, *args: Any, **keywords: Any) -> Any:
        """Call a method of the object."""
        return getattr(self.object, method)(*args, **keywords)


class Frozen:
    """A frozen network in a process of its own, on a GPU where the process has one.

    Args:
        make: Makes the network.
    """

    def __init__(self, make: Callable[[], nn.Module]) -> None:
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.net = make().requires_grad_(False).eval().to(self.device)

    @torch.no_grad()
    def forward(self, args: tuple[Any, ...], keywords: dict[str, Any]) -> Tensor:
        """The network's answer, on the CPU."""
        found: Tensor = self.net(*moved(args, self.device), **moved(keywords, self.device))
        return found.cpu()


class StandIn(nn.Module):
    """Stands for a network that is in a process of its own.

    Args:
        name: Of the role.
        make: Makes the object that holds the network, in its process.
        resources: Of the process.
    """

    here: Tensor

    def __init__(self, name: str, make: Callable[[], Any], resources: Resources) -> None:
        super().__init__()
        self.role = RemoteRole(name, make, resources)
        self.register_buffer("here", torch.empty(0), persistent=False)

    @property
    def device(self) -> torch.device:
        """Where answers go: where the module is that holds this one."""
        return self.here.device


class RemoteNetwork(StandIn):
    """Stands for a frozen network. It has no weights here.

    Args:
        name: Of the role.
        make: Makes the network, in its process.
        resources: Of the process.
    """

    def __init__(self, name: str, make: Callable[[], nn.Module], resources: Resources) -> None:
        super().__init__(name, partial(Frozen, make), resources)

    def forward(self, *args: Any, **keywords: Any) -> Tensor:
        """What the network answers to the same arguments. Without gradients.

        Raises:
            LostRoleError: If its process has ended and may not be started again.
        """
        found: Tensor = self.role.call("forward", moved(args, CPU), moved(keywords, CPU))
        return found.to(self.device)


def moved(value: Any, device: torch.device) -> Any:
    """The same with its tensors on a device, without their graph: a tensor, a tuple, a dict, or a dataclass of tensors.

    Args:
        value: Anything else stays.
        device: The device.
    """
    if isinstance(value, Tensor):
        return value.detach().to(device)
    if isinstance(value, dict):
        return {name: moved(each, device) for name, each in value.items()}
    if isinstance(value, tuple):
        each = [moved(part, device) for part in value]
        return type(value)(*each) if hasattr(value, "_fields") else tuple(each)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: moved(getattr(value, one.name), device) for one in fields(value)})
    return value


def import_ray() -> Any:
    """Ray, with a cluster: that of ``RAY_ADDRESS``, or one on this machine that ends with the process.

    Raises:
        ModuleNotFoundError: If Ray is not installed.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('Ray is not installed: pip install "internlm2-align[ray]".') from error
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        if os.environ.get("RAY_ADDRESS"):
            ray.init(log_to_driver=False)
        else:
            ray.init(include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    return ray
