"""Lightning callbacks of reward training: its course in a few dozen points, and the folder of the trained model."""

import math
import time
from typing import Any

import lightning as L
from internlm2_core.callbacks.export import SaveLast, gathered

from internlm2_align.reward.model import RewardModel

NAMES = ("train/loss", "train/accuracy", "train/largest_score")


class Curve(L.Callback):
    """Means of logged figures over equal stretches of training, kept in checkpoints.

    Args:
        stretches: Points wanted.

    Attributes:
        points: One entry a stretch: ``step`` and the means.
        pairs: Pairs of this rank in this attempt.
        seconds: That this attempt has taken.
    """

    def __init__(self, stretches: int = 40) -> None:
        self.stretches = stretches
        self.points: list[dict[str, float]] = []
        self.pairs, self.seconds = 0, 0.0
        self._stretch, self._start = 1, time.perf_counter()
        self._sums = dict.fromkeys(NAMES, 0.0)
        self._count = 0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Divide the steps of the schedule into stretches, and start the clock."""
        assert isinstance(pl_module, RewardModel)
        steps = getattr(pl_module.schedule, "total_steps", trainer.max_steps)
        self._stretch, self._start = max(1, steps // self.stretches), time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a step. Close the stretch at its end."""
        if any(not math.isfinite(float(trainer.callback_metrics[name])) for name in NAMES):
            return  # the step was left out, which is told and counted elsewhere
        for name in NAMES:
            self._sums[name] += float(trainer.callback_metrics[name])
        self.pairs += sum(len(row.margin) for row in batch)
        self._count += 1
        if self._count == self._stretch:
            means = {name.removeprefix("train/"): total / self._count for name, total in self._sums.items()}
            self.points.append({"step": trainer.global_step, **means})
            self._sums, self._count = dict.fromkeys(NAMES, 0.0), 0

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Stop the clock."""
        self.seconds = time.perf_counter() - self._start

    def state_dict(self) -> dict[str, Any]:
        """Points so far and the open stretch."""
        return {"points": list(self.points), "sums": dict(self._sums), "count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue."""
        self.points, self._sums, self._count = state_dict["points"], state_dict["sums"], state_dict["count"]


class SaveReward(SaveLast):
    """Writes the reward model with its tokenizer and condition table."""

    of = RewardModel

    def write(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Write network and condition table."""
        assert isinstance(pl_module, RewardModel)
        tensors = gathered(trainer, pl_module.net)
        if trainer.is_global_zero:
            pl_module.save(self.folder, tensors=tensors)
