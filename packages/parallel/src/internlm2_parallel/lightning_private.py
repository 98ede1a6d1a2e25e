"""Everything that this package uses of Lightning's private API.

No other module touches a name of Lightning that begins with an underscore. ``pyproject.toml`` bounds the version from
above, and ``tests/parallel/test_lightning_private.py`` asks the installed version for each name.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import lightning as L
from lightning.fabric.utilities.distributed import _init_dist_connection, _set_num_threads_if_needed
from lightning.fabric.utilities.optimizer import _optimizers_to_device as optimizers_to_device
from lightning.pytorch.strategies import ModelParallelStrategy
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.strategies.strategy import Strategy
from torch.distributed.device_mesh import DeviceMesh

__all__ = ["HookedLauncher", "HookedStrategy", "log_finished_step", "optimizers_to_device"]


class HookedLauncher(_SubprocessScriptLauncher):
    """Lightning's subprocess launcher, whose way of starting children a subclass may change."""

    def launch(self, function: Callable[..., Any], *args: Any, trainer: Any = None, **kwargs: Any) -> Any:
        """Start the other ranks and call a function here. Lightning's own watch over them would kill a whole sweep.

        Args:
            function: Called on this rank.
            args: Of it.
            trainer: Not read.
            kwargs: Of it.
        """
        self.cluster_environment.validate_settings(num_devices=self.num_processes, num_nodes=self.num_nodes)
        if not self.cluster_environment.creates_processes_externally:
            self.start_children()
        _set_num_threads_if_needed(num_processes=self.num_processes)
        return function(*args, **kwargs)

    def start_children(self) -> None:
        """Start the other ranks of this node as Lightning does."""
        self._call_children_scripts()

    def refuse_second_start(self) -> None:
        """Children are started once, by the first rank."""
        self._check_can_spawn_children()


class HookedStrategy(ModelParallelStrategy):
    """Lightning's strategy over a device mesh, with the hooks that it keeps private.

    Args:
        timeout_s: Seconds that a collective may take.
        process_group_backend: None takes gloo on CPU and nccl on GPUs.
    """

    def __init__(self, timeout_s: float, process_group_backend: str | None) -> None:
        super().__init__(process_group_backend=process_group_backend, timeout=timedelta(seconds=timeout_s))
        self.timeout = timedelta(seconds=timeout_s)

    def _configure_launcher(self) -> None:
        self._launcher = self.make_launcher()

    def make_launcher(self) -> HookedLauncher | None:
        """What starts the other ranks. None where they are started from outside."""
        raise NotImplementedError

    def join_processes(self, **options: Any) -> None:
        """Join the process group.

        Args:
            options: Of ``init_process_group``.
        """
        assert self.cluster_environment is not None
        self._process_group_backend = self._get_process_group_backend()
        device_id = None if self.root_device.type == "cpu" else self.root_device
        backend, timeout = self._process_group_backend, self.timeout
        _init_dist_connection(self.cluster_environment, backend, timeout=timeout, device_id=device_id, **options)

    def show_mesh(self, mesh: DeviceMesh) -> None:
        """Let the module read the mesh as ``self.device_mesh``."""
        assert self.lightning_module is not None
        self._device_mesh = self.lightning_module._device_mesh = mesh

    def set_up_accelerator(self) -> None:
        """What every strategy does before its ranks are connected."""
        Strategy.setup_environment(self)


def log_finished_step(trainer: L.Trainer) -> None:
    """Write the figures of the last step. Lightning does so only after the hook from which a stopped run leaves."""
    trainer._logger_connector.on_batch_end()
    trainer._logger_connector.update_train_step_metrics()
