"""Lightning callbacks of PPO: a progress bar over iterations, and snapshots of the actor on its way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
from internlm2_core.checkpoint import save_released
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from internlm2_align.ppo.system import PPOSystem


class IterationProgress(L.Callback):
    """One line: iterations done, reward and divergence, time left. Only the first rank shows it."""

    def __init__(self) -> None:
        self._bar: Progress | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Take the place of Lightning's bar."""
        if trainer.progress_bar_callback is not None:
            trainer.progress_bar_callback.disable()

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Show the bar."""
        assert isinstance(pl_module, PPOSystem)
        if not trainer.is_global_zero:
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(*columns, TextColumn("{task.fields[figures]}"), TimeElapsedColumn(), TimeRemainingColumn())
        total = int(trainer.num_training_batches)
        self._bar.add_task("iterations", total=total, completed=pl_module.iteration, figures="")
        self._bar.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Move on."""
        assert isinstance(pl_module, PPOSystem)
        if self._bar is None:
            return
        last = pl_module.history[-1]
        figures = f"reward {last['train/reward']:+.2f} kl {last['train/kl']:.2f}"
        self._bar.update(self._bar.tasks[0].id, completed=pl_module.iteration, figures=figures)

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
