"""Lightning callbacks of PPO: a progress bar over iterations, and snapshots of the actor on its way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.callbacks import ProgressLine
from internlm2_core.callbacks.export import SaveLast, gathered
from internlm2_core.checkpoint import save_released

from internlm2_align.ppo.system import PPOSystem


class IterationProgress(ProgressLine):
    """Iterations, reward and divergence."""

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the line."""
        assert isinstance(pl_module, PPOSystem)
        self.begin(trainer, "iterations", int(trainer.num_training_batches), pl_module.iteration)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on."""
        assert isinstance(pl_module, PPOSystem)
        last = pl_module.history[-1]
        self.move(pl_module.iteration, figures=f"reward {last['train/reward']:+.2f} kl {last['train/kl']:.2f}")


class SaveActors(SaveLast):
    """Writes the actor as model folders: ``model``, the best on validation; ``last``; ``snapshots/iteration-N``.

    Args:
        folder: Of the run.
        snapshots: Iterations after which one is kept, for the rounds of online RLHF to compare; the critic's warm-up
            counts.
        tokenizer_path: Whose tokenizer goes along.
    """

    def __init__(self, folder: Path, snapshots: Sequence[int], tokenizer_path: str | Path) -> None:
        super().__init__()
        self.folder, self.snapshots, self.tokenizer_path = folder, set(snapshots), tokenizer_path

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write the last one."""
        self._save(trainer, pl_module, "last")

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        """Write if it is time."""
        assert isinstance(pl_module, PPOSystem)
        super().on_train_batch_end(trainer, pl_module, *args)
        if pl_module.iteration in self.snapshots:
            self._save(trainer, pl_module, f"snapshots/iteration-{pl_module.iteration}")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write if none was better; the actor before training does not count."""
        assert isinstance(pl_module, PPOSystem)
        if trainer.sanity_checking:
            return
        *before, now = (e["valid/reward"] for e in pl_module.history if e["iteration"] and "valid/reward" in e)
        if all(now > reward for reward in before):
            self._save(trainer, pl_module, "model")

    def _save(self, trainer: L.Trainer, system: L.LightningModule, name: str) -> None:
        assert isinstance(system, PPOSystem)
        tensors = gathered(trainer, system.actor)
        if trainer.is_global_zero:
            save_released(self.folder / name, system.actor.size, tensors.items(), self.tokenizer_path)
        trainer.strategy.barrier("actor")
