"""Lightning callbacks of reward training: its course in a few dozen points, and the trained model's folder."""

from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.callbacks.export import SaveLast, gathered

from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.network import save_reward

NAMES = ("train/loss", "train/accuracy", "train/largest_score")


class Curve(L.Callback):
    """Means of logged figures over equal stretches of training; kept in checkpoints.

    Args:
        stretches: Points wanted.
        total_steps: Optimizer steps of the run.
    """

    def __init__(self, stretches: int, total_steps: int) -> None:
        self.stretch = max(1, total_steps // stretches)
        self.points: list[dict[str, float]] = []
        self.first_step = 0  # of this attempt
        self._sums = dict.fromkeys(NAMES, 0.0)
        self._count = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """See where this attempt begins."""
        self.first_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a step; close the stretch at its end."""
        for name in NAMES:
            self._sums[name] += float(trainer.callback_metrics[name])
        self._count += 1
        if self._count == self.stretch:
            means = {name.removeprefix("train/"): total / self._count for name, total in self._sums.items()}
            self.points.append({"step": trainer.global_step, **means})
            self._sums, self._count = dict.fromkeys(NAMES, 0.0), 0

    def state_dict(self) -> dict[str, Any]:
        """Points so far and the open stretch."""
        return {"points": list(self.points), "sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on."""
        self.points, self._sums, self._count = state_dict["points"], state_dict["sums"], state_dict["count"]


class SaveReward(SaveLast):
    """Writes the reward model.

    Args:
        folder: Where.
        tokenizer_path: Whose tokenizer goes along.
    """

    def __init__(self, folder: Path, tokenizer_path: str | Path) -> None:
        super().__init__()
        self.folder, self.tokenizer_path = folder, tokenizer_path

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write network and condition table."""
        assert isinstance(pl_module, RewardModel)
        net, conditions = pl_module.net, pl_module.encoder.conditions
        tensors = gathered(trainer, net)
        if trainer.is_global_zero:
            save_reward(self.folder, net.size, tensors, self.tokenizer_path, conditions)
