"""Stop when the cluster asks, between two optimizer steps, on all ranks together.

A signal reaches some ranks in the middle of a batch. It only sets a flag. After each step the ranks agree whether
anyone was asked, save, and leave. Under Slurm the first rank puts the job back into the queue. Started again, the job
continues from what was saved.
"""

import logging
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, runtime_checkable

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from internlm2_parallel.lightning_private import log_finished_step
from internlm2_parallel.strategy import MeshStrategy
from internlm2_parallel.together import TRY_AGAIN

log = logging.getLogger(__name__)


@runtime_checkable
class SavesNow(Protocol):
    """A ModelCheckpoint that can be asked to save."""

    def save_now(self, trainer: L.Trainer) -> Path:
        """Save the present step, and give the path. Collective."""


class Preempted(SystemExit):
    """The run saved its state and leaves because the cluster asked."""


class Preemption(L.Callback):
    """Save and leave at the step boundary after a signal.

    Args:
        folder: The state is saved as ``last.ckpt`` in it. None saves beside the checkpoints of the trainer's
            ModelCheckpoint, under its own names where it can save at any step (`SavesNow`). Jobs continue from there.
        signals: Names of the signals that ask. Schedulers send them some time before they kill.
        requeue: Ask Slurm to run the job again, where the run is a Slurm job.

    Raises:
        ValueError: If a signal is unknown. When training starts, if nothing says where checkpoints are written.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        signals: Sequence[str] = ("SIGUSR1", "SIGUSR2", "SIGTERM"),
        requeue: bool = True,
    ) -> None:
        unknown = [name for name in signals if name not in signal.Signals.__members__]
        if unknown:
            raise ValueError(f"signals={unknown} must be names of signals, such as SIGUSR1.")
        self.folder, self.signals, self.requeue = folder, tuple(signals), requeue
        self.asked_by: str | None = None
        self._step = 0
        self._before: dict[str, Any] = {}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take the signals over from Lightning and submitit, which would act in mid-batch."""
        self.checkpoints(trainer)
        self._step = trainer.global_step
        for name in self.signals:
            self._before[name] = signal.signal(signal.Signals[name], self._note)

    def checkpoints(self, trainer: L.Trainer) -> Path:
        """The folder of the run's checkpoints.

        Raises:
            ValueError: If neither ``folder`` nor a ModelCheckpoint says it.
        """
        writer = trainer.checkpoint_callback
        folder = self.folder or (writer.dirpath if isinstance(writer, ModelCheckpoint) else None)
        if folder is None:
            raise ValueError(
                "folder=None takes the folder of a ModelCheckpoint with a dirpath, and the trainer has none."
            )
        return Path(folder)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked_by = signal.Signals(number).name

    def on_train_batch_end(self, trainer: L.Trainer, *args: Any) -> None:
        """Agree after an optimizer step, and if anyone was asked save and leave.

        In the middle of an accumulation gradients would be lost.

        Raises:
            Preempted: If anyone was asked, after the state was saved.
        """
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        asked = self.asked_by is not None
        if not trainer.strategy.reduce_boolean_decision(asked, all=False):
            return
        self._save(trainer)
        finish_writing(trainer)
        log.warning("Stopped after step %d (%s), state saved.", trainer.global_step, self.asked_by or "another rank")
        trainer.strategy.barrier("preemption")
        if trainer.is_global_zero and self.requeue:
            requeue()
        raise Preempted(TRY_AGAIN)

    def _save(self, trainer: L.Trainer) -> None:
        writer = trainer.checkpoint_callback
        if self.folder is None and isinstance(writer, SavesNow):
            writer.save_now(trainer)
        else:
            trainer.save_checkpoint(self.checkpoints(trainer) / "last.ckpt")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for name, handler in self._before.items():
            signal.signal(signal.Signals[name], handler)
        self._before = {}


def finish_writing(trainer: L.Trainer) -> None:
    """Have on disk what is still in memory: once a job is requeued, Slurm kills its ranks within milliseconds."""
    log_finished_step(trainer)
    if isinstance(trainer.strategy, MeshStrategy):
        trainer.strategy.finish_writing()
    else:
        trainer.strategy.checkpoint_io.teardown()


def requeue() -> bool:
    """Put the current Slurm job back into the queue.

    Returns:
        False outside Slurm, for a job that is being ended, and where Slurm refuses.
    """
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    task = os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{job}_{task}" if task is not None else job
    reason = requeue_or_say_why_not(name)
    if reason:
        log.warning("Job %s is not requeued: %s.", name, reason)
    return not reason


def requeue_or_say_why_not(job: str) -> str:
    """Ask Slurm. Empty where the job was requeued."""
    try:
        # scancel sends SIGTERM like a pre-emption does, and Slurm would requeue even a job that it is cancelling.
        if "JobState=COMPLETING" in scontrol("show", "job", job).stdout:
            return "Slurm is ending it"
        done = scontrol("requeue", job)
    except FileNotFoundError:
        return "there is no scontrol here, submit it again"
    # Below zero: Slurm ended scontrol along with the job that it requeued.
    return f"{done.stderr.strip()}, submit it again" if done.returncode > 0 else ""


def scontrol(*words: str) -> subprocess.CompletedProcess[str]:
    """Run Slurm's command for administration."""
    return subprocess.run(["scontrol", *words], capture_output=True, text=True, check=False)
