"""Progress of training that is counted in steps: a bar on the first rank, in the place of Lightning's own.

Where the output is not a terminal, a plain line twice a minute takes the place of the bar.
"""

import math
import sys
import time
from typing import Any

import lightning as L
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


class ProgressLine(L.Callback):
    """What is counted, how far it is, some figures, time left. Subclasses call ``begin`` and ``move``.

    Args:
        every_s: Seconds between two plain lines, where the output is not a terminal.
    """

    def __init__(self, every_s: float = 30.0) -> None:
        self.every_s = every_s
        self._bar: Progress | None = None
        self._said = 0.0

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the place of Lightning's bar."""
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.disable()

    def begin(self, trainer: L.Trainer, what: str, total: int | None, completed: int) -> None:
        """Show the line, on the first rank."""
        if not trainer.is_global_zero:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn())
        self._bar.add_task(what, total=total, completed=completed, figures="")
        self._said = time.monotonic()
        if sys.stdout.isatty():
            self._bar.start()

    def move(self, completed: int, figures: str | None = None) -> None:
        """Move to ``completed``; ``figures`` replaces the figures shown, if given."""
        if self._bar is None:
            return
        task = self._bar.tasks[0]
        self._bar.update(task.id, completed=completed, figures=task.fields["figures"] if figures is None else figures)
        if not sys.stdout.isatty() and time.monotonic() - self._said >= self.every_s:
            self._say()

    def _say(self) -> None:
        assert self._bar is not None
        task, self._said = self._bar.tasks[0], time.monotonic()
        total = "" if task.total is None else f"/{task.total:.0f}"
        where = f"{task.description} {task.completed:.0f}{total}"
        print(f"{where}  {task.fields['figures']}  {task.elapsed or 0:.0f} s", flush=True)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leave the finished line."""
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            if sys.stdout.isatty():
                self._bar.stop()
            else:
                self._say()
            self._bar = None


class StepProgress(ProgressLine):
    """Optimizer steps and loss.

    Args:
        every_steps: How often the loss is read.
        every_s: Seconds between two plain lines, where the output is not a terminal.
    """

    def __init__(self, every_steps: int = 10, every_s: float = 30.0) -> None:
        super().__init__(every_s)
        self.every_steps = every_steps

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the line."""
        planned = trainer.estimated_stepping_batches  # infinite where only time ends the run
        self.begin(trainer, "training", int(planned) if math.isfinite(planned) else None, trainer.global_step)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on. The loss is read only when it is shown, since reading waits for the device."""
        reads = self._bar is not None and trainer.global_step % self.every_steps == 0
        loss = trainer.callback_metrics.get("train/loss") if reads else None
        self.move(trainer.global_step, None if loss is None else f"loss {float(loss):.3f}")
