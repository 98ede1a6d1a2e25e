"""Checkpoints that a run resumes from."""

from datetime import timedelta
from pathlib import Path

from lightning.pytorch.callbacks import ModelCheckpoint


class Checkpoints(ModelCheckpoint):
    """Lightning's `ModelCheckpoint` as every training job uses it: ``step-N.ckpt`` and ``last.ckpt``.

    Its folder is the one place that a run is resumed from (`internlm2_core.training.run`), and where a run that is
    pre-empted saves its state.

    Args:
        dirpath: The folder.
        every_n_train_steps: Optimizer steps between two checkpoints. None leaves it to the other arguments.
        train_time_interval: Time between two checkpoints, instead of steps.
        monitor: Logged figure that says which checkpoints are kept. None keeps the newest.
        mode: Whether the figure is best at its ``"min"`` or ``"max"``.
        save_top_k: Checkpoints kept beside ``last.ckpt``. -1 keeps all.
    """

    def __init__(
        self,
        dirpath: str | Path,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        monitor: str | None = None,
        mode: str = "min",
        save_top_k: int = 1,
    ) -> None:
        super().__init__(
            dirpath,
            filename="step-{step}",
            monitor=monitor,
            mode=mode,
            save_last=True,
            save_top_k=save_top_k,
            auto_insert_metric_name=False,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=train_time_interval,
            save_on_train_epoch_end=False,
            # A second last.ckpt would be one that nothing resumes from.
            enable_version_counter=False,
        )
