"""A progress bar over optimizer steps, for runs that are counted in steps."""

from typing import Any

import lightning as L
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class StepProgress(L.Callback):
    """One line: steps done, loss, time left. Only the first rank shows it, and Lightning's own bar stays off.

    Args:
        every_steps: how often the loss is read.
    """

    def __init__(self, every_steps: int = 10) -> None:
        self.every_steps = every_steps
        self._bar: Progress | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the place of Lightning's bar."""
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.disable()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        if not trainer.is_global_zero:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn())
        total = trainer.max_steps if trainer.max_steps > 0 else int(trainer.num_training_batches)
        self._bar.add_task("training", total=total, completed=trainer.global_step, figures="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on; the loss is read only when it is shown, since reading waits for the device."""
        if self._bar is None:
            return
        task = self._bar.tasks[0]
        if trainer.global_step % self.every_steps == 0 and "train/loss" in trainer.callback_metrics:
            loss = float(trainer.callback_metrics["train/loss"])
            self._bar.update(task.id, figures=f"loss {loss:.3f}")
        self._bar.update(task.id, completed=trainer.global_step)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the finished line."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
