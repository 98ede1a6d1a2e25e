"""Lightning callbacks of PPO: a progress bar over iterations, and snapshots of the actor on its way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.callbacks import ProgressLine
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


class Snapshots(L.Callback):
    """Writes the actor as a model folder after some iterations, for the rounds of online RLHF to compare.

    Args:
        folder: Gets one folder ``iteration-N`` each.
        iterations: Counted with the critic's warm-up.
        tokenizer_path: Whose tokenizer goes along.
    """

    def __init__(self, folder: Path, iterations: Sequence[int], tokenizer_path: str | Path) -> None:
        self.folder, self.iterations, self.tokenizer_path = folder, set(iterations), tokenizer_path

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if it is time."""
        assert isinstance(pl_module, PPOSystem)
        if pl_module.iteration in self.iterations and trainer.is_global_zero:
            folder = self.folder / f"iteration-{pl_module.iteration}"
            net = pl_module.actor
            save_released(folder, net.size, net.state_dict().items(), self.tokenizer_path)
