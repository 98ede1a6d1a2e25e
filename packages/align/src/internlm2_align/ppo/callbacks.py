"""Lightning callbacks of PPO: a progress bar over iterations, and snapshots of the actor on its way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.callbacks import ProgressLine
from internlm2_core.callbacks.export import SaveLast

from internlm2_align.ppo.refusals import CountsIterations
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
        said = f"reward {last['train/reward']:+.2f} kl {last['train/kl']:.2f}" if "train/kl" in last else "left out"
        self.move(pl_module.iteration, figures=said)


class SaveActors(SaveLast):
    """Writes the actor as model folders: ``model`` (best on validation), ``last``, ``snapshots/iteration-N``.

    The validation before training counts: where no later one is better, ``model`` is what PPO began with.

    Args:
        folder: Of the run.
        snapshots: Iterations after which one is kept. The critic's warm-up counts.
        early_share: Share of the actor's own iterations after which another is kept, for rounds of online RLHF to
            compare. None keeps none.
    """

    of = PPOSystem

    def __init__(self, folder: str | Path, snapshots: Sequence[int] = (), early_share: float | None = None) -> None:
        super().__init__(folder)
        self.places = (self.folder / "model", self.folder / "last")
        self.snapshots, self.early_share = set(snapshots), early_share

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Settle which iterations are kept.

        Raises:
            ValueError: If one is not among those of the run, or the module is not a PPOSystem.
        """
        super().setup(trainer, pl_module, stage)
        data = trainer.datamodule  # type: ignore[attr-defined]
        if stage != "fit" or not isinstance(data, CountsIterations):
            return
        assert isinstance(pl_module, PPOSystem)
        if self.early_share is not None:
            warmup = pl_module.settings.warmup_iterations
            self.snapshots.add(warmup + max(1, round(self.early_share * (data.iterations - warmup))))
        if late := sorted(number for number in self.snapshots if not 1 <= number <= data.iterations):
            raise ValueError(f"snapshots={late} must be among iterations 1 to {data.iterations}.")

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
        """Write if none before was as good."""
        assert isinstance(pl_module, PPOSystem)
        if trainer.state.fn != "fit":
            return
        *before, now = (entry["valid/reward"] for entry in pl_module.history if "valid/reward" in entry)
        if all(now > reward for reward in before):
            self._save(trainer, pl_module, "model")

    def _save(self, trainer: L.Trainer, system: L.LightningModule, name: str) -> None:
        assert isinstance(system, PPOSystem)
        tensors = system.whole_actor()
        if trainer.is_global_zero:
            system.save(self.folder / name, tensors)
        trainer.strategy.barrier("actor")
