"""Ctrl-C saves the step that is under way and ends the run. Twice, it ends it at once."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest
from internlm2_core.callbacks import AtomicCheckpointIO, Checkpoints
from internlm2_core.loggers import ContinuedCSVLogger
from internlm2_core.training.found import newest, step_of
from lightning.pytorch.demos.boring_classes import BoringModel


@pytest.fixture(autouse=True)
def own_handler() -> Iterator[None]:
    """Ctrl-C interrupts, as in a terminal: a shell starts jobs in the background with Ctrl-C ignored, and Lightning
    leaves it ignored in a process whose run was interrupted."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class PressAt(L.Callback):
    """Presses Ctrl-C in the middle of a batch."""

    def __init__(self, batch: int, times: int = 1) -> None:
        self.batch, self.times = batch, times

    def on_before_backward(self, trainer: L.Trainer, *args: Any) -> None:
        if trainer.fit_loop.epoch_loop.batch_idx == self.batch:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


class Logged(BoringModel):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("x", float(batch_idx))
        return super().training_step(batch, batch_idx)


def fit(folder: Path, *callbacks: L.Callback, saver: Checkpoints | None = None, **settings: Any) -> L.Trainer:
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=6,
        callbacks=[saver or Checkpoints(folder / "checkpoints", every_n_train_steps=100), *callbacks],
        logger=ContinuedCSVLogger(folder, name="logs", version="csv"),
        log_every_n_steps=1,
        plugins=[AtomicCheckpointIO()],
        limit_val_batches=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(Logged(), ckpt_path=newest(folder / "checkpoints"))
    return trainer


def test_one_press_saves_the_step_under_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit):
        fit(tmp_path, PressAt(2))
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-3.ckpt"]
    said = capfd.readouterr().err
    assert "The run ends after this optimizer step and saves its state." in said
    assert f"Interrupted after step 3. {tmp_path}/checkpoints holds step 3: nothing is lost." in said
    assert fit(tmp_path).global_step == 6
    rows = (tmp_path / "logs" / "csv" / "metrics.csv").read_text().splitlines()
    assert len(rows) == 1 + 6  # that of the last step too
    assert signal.getsignal(signal.SIGINT) == before


def test_two_presses_end_it_at_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, PressAt(2, times=2))
    assert not list((tmp_path / "checkpoints").glob("*"))
    assert "There is no checkpoint" in capfd.readouterr().err


def test_an_accumulation_is_finished_first(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, PressAt(1), accumulate_grad_batches=3)
    found = newest(tmp_path / "checkpoints")
    assert found is not None and step_of(found) == 1
    assert fit(tmp_path, accumulate_grad_batches=3).global_step == 6


def test_checkpoints_by_a_figure_are_not_what_a_run_resumes_from(tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        fit(tmp_path, PressAt(2), saver=Checkpoints(tmp_path / "best", monitor="x"))
    assert not list((tmp_path / "best").glob("step-3*"))
