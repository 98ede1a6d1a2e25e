"""What core uses of Lightning that Lightning does not promise to keep. Nothing else in this package may.

`tests/core/test_lightning_private.py` checks that each name is there.
"""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.trainer.connectors.logger_connector.logger_connector import _LoggerConnector

USED = (
    (ExperimentWriter, "_check_log_dir_exists"),
    (L.pytorch.loggers.CSVLogger, "experiment"),
    (L.pytorch.loops.fit_loop._FitLoop, "max_epochs"),
    (ModelCheckpoint, "_save_checkpoint"),
    (L.LightningModule(), "_trainer"),
    (_LoggerConnector, "on_batch_end"),
    (_LoggerConnector, "update_train_step_metrics"),
    (L.pytorch.loops.training_epoch_loop._TrainingEpochLoop, "max_steps"),
)
"""Classes, or objects, and their attributes."""


class KeepsItsFile(ExperimentWriter):
    """Lightning's writer of ``metrics.csv`` that does not delete the file of an earlier attempt."""

    def _check_log_dir_exists(self) -> None:
        """Keep the file that Lightning would delete."""


class HookedCheckpoint(ModelCheckpoint):
    """Lightning's `ModelCheckpoint`, which tells a subclass what it has saved."""

    def _save_checkpoint(self, trainer: L.Trainer, filepath: str) -> None:
        super()._save_checkpoint(trainer, filepath)
        self.saved(trainer, Path(filepath))

    def saved(self, trainer: L.Trainer, path: Path) -> None:
        """Called on every rank after a save. A strategy may still be writing in the background.

        Args:
            trainer: The trainer.
            path: The checkpoint.
        """

    def save_now(self, trainer: L.Trainer) -> Path:
        """Save the present step outside of the usual order. Collective.

        Returns:
            The checkpoint.
        """
        assert self.dirpath is not None
        path = Path(self.dirpath) / f"step-{trainer.global_step}.ckpt"
        self._save_checkpoint(trainer, str(path))
        return path


def end_after(trainer: L.Trainer, steps: int) -> None:
    """Have a Trainer that was given no number of steps end after so many.

    Passes do not count any more: a pass may be planned anew and have a batch more or less than the first.

    Args:
        trainer: Before it fits.
        steps: Optimizer steps in all.
    """
    trainer.fit_loop.epoch_loop.max_steps = steps
    trainer.fit_loop.max_epochs = -1


def log_finished_step(trainer: L.Trainer) -> None:
    """Write the figures of the last step. Lightning does so after the hook from which an interrupted run leaves."""
    trainer._logger_connector.on_batch_end()
    trainer._logger_connector.update_train_step_metrics()


def is_attached(module: L.LightningModule) -> bool:
    """Whether a module has a Trainer. Asking for the Trainer itself raises where there is none."""
    return module._trainer is not None
