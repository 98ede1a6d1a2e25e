"""Checkpoints that a run resumes from."""

import os
import re
import shutil
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning as L

from internlm2_core.callbacks.interrupt import Interrupt, leave
from internlm2_core.lightning_private import HookedCheckpoint
from internlm2_core.training.found import newest_first, step_of


class Checkpoints(HookedCheckpoint):
    """Lightning's `ModelCheckpoint` as every training job uses it: each state once, as ``step-N.ckpt``.

    Its folder is the one place that a run is resumed from (`internlm2_core.training.found`), and where a run that is
    pre-empted or interrupted saves its state. ``last.ckpt`` is a link to the newest. Ctrl-C ends a run after its
    optimizer step, with a checkpoint of it.

    Args:
        dirpath: The folder.
        every_n_train_steps: Optimizer steps between two checkpoints. None leaves it to the other arguments.
        train_time_interval: Time between two checkpoints, instead of steps.
        keep_last: Newest checkpoints that are kept. -1 keeps all.
        keep_every_n_steps: Those of every so many steps are kept for ever. None keeps none for that.
        monitor: Logged figure by which checkpoints are kept instead: the best. Use a folder of their own for them.
        mode: Whether the figure is best at its ``"min"`` or ``"max"``.
        verify: Whether a run that resumes compares the checksums of its checkpoint, for which it reads it once more.

    Raises:
        ValueError: If ``keep_last`` or ``keep_every_n_steps`` keeps nothing.
    """

    def __init__(
        self,
        dirpath: str | Path,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        keep_last: int = 1,
        keep_every_n_steps: int | None = None,
        monitor: str | None = None,
        mode: str = "min",
        verify: bool = True,
    ) -> None:
        if keep_last < 1 and keep_last != -1:
            raise ValueError(f"keep_last={keep_last} must be 1 or more, or -1 for all.")
        if keep_every_n_steps is not None and keep_every_n_steps < 1:
            raise ValueError(f"keep_every_n_steps={keep_every_n_steps} must be 1 or more.")
        super().__init__(
            dirpath,
            filename="step-{step}",
            monitor=monitor,
            mode=mode,
            save_top_k=-1 if monitor is None else keep_last,
            auto_insert_metric_name=False,
            every_n_train_steps=every_n_train_steps,
            train_time_interval=train_time_interval,
            save_on_train_epoch_end=False,
            # A second file of a step would be one that nothing resumes from.
            enable_version_counter=False,
        )
        self.keep_last, self.keep_every_n_steps, self.verify = keep_last, keep_every_n_steps, verify
        self._interrupt, self._step = Interrupt(), 0

    def saved(self, trainer: L.Trainer, path: Path) -> None:
        """Let ``last.ckpt`` lead there, and remove what is not to be kept."""
        if trainer.is_global_zero:
            link(path)
            if self.monitor is None and self.keep_last > 0:
                thin(path.parent, trainer.global_step, self.keep_last, self.keep_every_n_steps)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Listen to Ctrl-C, if a run resumes from here."""
        super().on_train_start(trainer, pl_module)
        self._step = trainer.global_step
        if self.monitor is None and self.dirpath is not None:
            self._interrupt.listen(says=trainer.is_global_zero)

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Save when it is time. After an optimizer step that anybody has interrupted, save and leave on all ranks.

        Raises:
            KeyboardInterrupt: If anybody has.
        """
        super().on_train_batch_end(trainer, *args)
        is_between_steps, self._step = trainer.global_step != self._step, trainer.global_step
        if self.monitor is not None or self.dirpath is None or not is_between_steps:
            return
        if trainer.strategy.reduce_boolean_decision(self._interrupt.is_asked, all=False):
            self._save_unless_there(trainer)
            leave(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Save the last state, so that a run that is started again knows that it is done."""
        super().on_train_end(trainer, pl_module)
        if self.monitor is None and self.dirpath is not None and trainer.global_step > 0:
            self._save_unless_there(trainer)

    def _save_unless_there(self, trainer: L.Trainer) -> None:
        assert self.dirpath is not None
        path = Path(self.dirpath) / f"step-{trainer.global_step}.ckpt"
        if not trainer.strategy.broadcast(path.exists()):
            self.save_now(trainer)

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Tell who interrupts a run what is lost, and how it continues."""
        super().on_exception(trainer, pl_module, exception)
        self._interrupt.forget()
        if self.dirpath is not None and trainer.is_global_zero:
            link_to_what_is_there(Path(self.dirpath))
        if not isinstance(exception, KeyboardInterrupt) or not trainer.is_global_zero or self.dirpath is None:
            return
        step = trainer.global_step
        saved = max((step_of(path) or 0 for path in newest_first(self.dirpath)), default=0)
        kept = f"{self.dirpath} holds step {saved}" if saved else f"There is no checkpoint in {self.dirpath} yet"
        lost = f"{step - saved} steps since are lost" if step > saved else "nothing is lost"
        print(f"Interrupted after step {step}. {kept}: {lost}. The same command resumes.", file=sys.stderr)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give Ctrl-C back."""
        super().teardown(trainer, pl_module, stage)
        self._interrupt.forget()


def thin(folder: Path, step: int, keep: int, keep_every: int | None) -> None:
    """Remove older checkpoints named ``step-N.ckpt``, once there are whole ones that are newer.

    Args:
        folder: Where they are.
        step: The present step. What a run that was stopped has left of later steps is not touched.
        keep: Newest whole ones that stay.
        keep_every: Those of every so many steps stay too.
    """
    drafts = folder.glob(".step-*.ckpt.draft")  # of runs that were killed
    for path in (*newest_first(folder), *drafts):
        named = re.fullmatch(r"\.?step-(\d+)\.ckpt(\.draft)?", path.name)
        if named is None or int(named[1]) > step - bool(named[2]):
            continue
        if keep > 0 and not named[2]:
            keep -= step_of(path) is not None
        elif named[2] or not keep_every or int(named[1]) % keep_every:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def link_to_what_is_there(folder: Path) -> None:
    """Let ``last.ckpt`` lead to the newest whole checkpoint, where the one that it leads to was never written.

    Args:
        folder: Of checkpoints.
    """
    last = folder / "last.ckpt"
    if last.is_symlink() and not last.exists():
        whole = next((path for path in newest_first(folder) if step_of(path) is not None), None)
        link(whole) if whole else last.unlink()


def link(path: Path) -> None:
    """Let ``last.ckpt`` beside a checkpoint lead to it, at every instant to one.

    Args:
        path: The checkpoint. It may still be written in the background.
    """
    last = path.with_name("last.ckpt")
    if last.is_dir() and not last.is_symlink():
        return  # A sharded checkpoint of that name, which something else has written.
    draft = path.with_name(f".last.{os.getpid()}")
    draft.unlink(missing_ok=True)
    draft.symlink_to(path.name)
    draft.replace(last)
