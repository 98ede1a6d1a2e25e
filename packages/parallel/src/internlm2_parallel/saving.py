"""Checkpoints of a strategy: what Lightning asks for, handed to the store."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch.optim import Optimizer

from internlm2_parallel.checkpoint.policy import newer_remote
from internlm2_parallel.checkpoint.staging import State
from internlm2_parallel.checkpoint.state import weights_of
from internlm2_parallel.checkpoint.store import CheckpointStore, names_in_groups
from internlm2_parallel.stepping import SteppingStrategy


class SavingStrategy(SteppingStrategy):
    """The part of `MeshStrategy` that knows checkpoints. It takes the arguments of `RankedStrategy`.

    Attributes:
        store: Writes and reads them.
        order: Names of all weights, as one process counts them.
    """

    store: CheckpointStore
    order: list[str]

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """Weights by name, still split. Hooks of the module may drop some before they are saved."""
        assert self.lightning_module is not None
        return weights_of(self.lightning_module)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """Nothing, since `save_checkpoint` reads optimizer state by weight name itself."""
        return {}

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Write a sharded checkpoint: a folder that is whole or not there. Collective."""
        assert self.lightning_module is not None
        target = Path(self.broadcast(str(filepath)))
        optimizers = self.optimizers if checkpoint.pop("optimizer_states", None) is not None else []
        named, layout = self._weight_names(optimizers), str(self.layout)
        self.store.save(target, checkpoint, self.lightning_module, optimizers, layout, named)

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a sharded checkpoint of any layout, or a single file of plain Lightning. Collective."""
        module, optimizers = self.lightning_module, self.optimizers
        assert module is not None
        source, named = Path(self.broadcast(str(checkpoint_path))), self._weight_names(optimizers)
        self.store.bring(source, self.local_rank == 0)
        return self.store.load(source, module, optimizers, str(self.layout), module.strict_loading, weights_only, named)

    def check_copy(self, check: Callable[[State], None]) -> bool:
        """Check the next checkpoint in the background, before it gets its name.

        Args:
            check: Raises if the copy of the state must not be written, this rank's part by kind (``weights``,
                ``optimizer_N``) and name. All ranks raise it at the next checkpoint, or at the end of the run.

        Returns:
            False where checkpoints are written at once. The check is not made then.
        """
        self.store.check = check if self.store.policy.asynchronous else None
        return self.store.policy.asynchronous

    def newest_elsewhere(self, folder: Path) -> Path | None:
        """Where the newest checkpoint of the remote store belongs, if none here is as new. It comes when it is loaded.

        Args:
            folder: Checkpoints of the run.
        """
        remote = self.store.policy.remote
        return None if remote is None else newer_remote(folder, remote)

    def remove_checkpoint(self, filepath: Any) -> None:
        """Remove a checkpoint, once those are whole that were saved after it."""
        if self.is_global_zero:
            self.store.remove(Path(filepath))

    def _weight_names(self, optimizers: Sequence[Optimizer]) -> list[list[list[str]]]:
        assert self.lightning_module is not None
        return [names_in_groups(self.lightning_module, optimizer, self._over_stages) for optimizer in optimizers]

    def _over_stages(self, names: list[str]) -> list[str]:
        """A rank may have several stages, which do not follow each other. One process counts in the order of all."""
        return sorted(self.over_stages(names), key=self.order.index) if self.has_stages else names

    def finish_writing(self) -> None:
        """Wait for checkpoints that are still being written or copied."""
        self.store.close()

    def teardown(self) -> None:
        """Wait for checkpoints that are still being written."""
        self.finish_writing()
        super().teardown()
