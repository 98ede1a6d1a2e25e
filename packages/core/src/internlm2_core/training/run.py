"""One run: fit a module on data, from the newest checkpoint where there is one."""

import json
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from internlm2_core.lightning_private import end_after
from internlm2_core.optim import OverSteps
from internlm2_core.shares import KeepsCheckpointsElsewhere, replicas_of
from internlm2_core.training.found import newest

log = logging.getLogger(__name__)

ON_PURPOSE = (
    # Weights are saved after the optimizer's step, which is where a run resumes.
    "Using ModelCheckpoint with manual optimization",
    # A resumed run writes where it wrote before.
    "Checkpoint directory .* exists and is not empty",
    # Reference and reward model of PPO stay frozen.
    "Found .* module\\(s\\) in eval mode",
    # How often checkpoints are written may change when a run resumes.
    "Be aware that when using `ckpt_path`",
    # A short run.
    "The number of training batches .* is smaller than the logging interval",
    # Prompts are not tensors. The module knows what of a query is to be moved.
    "You have overridden `transfer_batch_to_device` in `LightningModule`",
    # Reward training measures after training, on the written model.
    "You defined a `validation_step` but have no `val_dataloader`",
)


@runtime_checkable
class KnowsItsSteps(Protocol):
    """Data that can say how many optimizer steps a pass over them takes."""

    def steps_per_pass(self, replicas: int) -> int:
        """Steps of one pass.

        Args:
            replicas: Ranks that read different rows.
        """
        ...


def run(
    trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule, folder: str | Path
) -> dict[str, float]:
    """Train, and write ``FOLDER/training.json`` (steps, seconds, last figures).

    A run that was stopped resumes from the newest whole checkpoint in the folder of the Trainer's `ModelCheckpoint`.
    Whether that was taken under the same settings is not asked here. The command compares them before.

    Args:
        trainer: Lightning's.
        module: What is trained.
        data: What it is trained on. Where it says how many steps a pass takes (`KnowsItsSteps`), these settle an open
            schedule and an open number of steps.
        folder: Of the run.

    Returns:
        The last figures that were logged.

    Raises:
        KeyboardInterrupt: If the user stopped the run.
    """
    start = time.perf_counter()
    with without_needless_warnings():
        settle_steps(trainer, module, data)
        trainer.fit(module, datamodule=data, ckpt_path=resumes_from(trainer))
    if trainer.interrupted:
        raise KeyboardInterrupt
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    if trainer.is_global_zero:
        record = {"steps": trainer.global_step, "seconds": time.perf_counter() - start, "figures": figures}
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / "training.json").write_text(json.dumps(record, indent=2) + "\n")
    return figures


def resumes_from(trainer: L.Trainer) -> Path | None:
    """The newest whole checkpoint in the folder of the Trainer's `ModelCheckpoint`, or None for a run that begins.

    Where the strategy copies checkpoints to a store, one there that is newer counts.

    Args:
        trainer: Before it fits.

    Raises:
        ValueError: If no checkpoint there is whole, or the newest is sharded and the strategy does not shard.
    """
    saver = trainer.checkpoint_callback
    if not isinstance(saver, ModelCheckpoint) or saver.dirpath is None:
        return None
    strategy, folder = trainer.strategy, Path(saver.dirpath)
    if isinstance(strategy, KeepsCheckpointsElsewhere) and (elsewhere := strategy.newest_elsewhere(folder)):
        return elsewhere
    found = newest(folder, verify=getattr(saver, "verify", True))
    if found is not None and found.is_dir() and isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
        raise ValueError(
            f"{found} is a sharded checkpoint, which {type(trainer.strategy).__name__} does not read. Resume with a "
            "MeshStrategy, which may have one device, or make one file of it with "
            f"python -m internlm2_parallel join {found} {found.with_name('joined.ckpt')}."
        )
    return found


def settle_steps(trainer: L.Trainer, module: Any, data: L.LightningDataModule) -> None:
    """Count the steps of a run whose schedule or length is left open: ``max_epochs`` passes over the data, or one.

    A schedule is told of them even where ``max_steps`` stops the run before. It continues as if it was not stopped.

    Args:
        trainer: Its ``max_steps`` may be open (-1).
        module: Its ``schedule``, if it has one, may be open.
        data: Asked for the steps of a pass.
    """
    schedule = getattr(module, "schedule", None)
    is_open = isinstance(schedule, OverSteps) and schedule.total_steps == -1
    if not isinstance(data, KnowsItsSteps) or (trainer.max_steps >= 0 and not is_open):
        return
    passes = max(1, trainer.max_epochs or 1)
    steps = passes * data.steps_per_pass(replicas_of(trainer))
    log.info("%d steps: %d pass(es) over the data", steps, passes)
    if trainer.max_steps < 0:
        end_after(trainer, steps)
    if not isinstance(schedule, OverSteps):
        return
    module.schedule = schedule.over(steps)
    if (warmup := module.schedule.warmup_steps) < schedule.warmup_steps:
        log.warning(
            "the warm-up takes %d steps instead of warmup_steps=%d: the schedule has only %d steps",
            warmup,
            schedule.warmup_steps,
            steps,
        )


@contextmanager
def without_needless_warnings() -> Iterator[None]:
    """Lightning without the warnings of `ON_PURPOSE` and of its own deprecated calls."""
    with warnings.catch_warnings():
        for message in ON_PURPOSE:
            warnings.filterwarnings("ignore", message=f".*{message}")
        warnings.filterwarnings("ignore", module=r"lightning\.pytorch\.utilities\.(_pytree|data)")
        yield
