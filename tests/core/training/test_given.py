"""A run that resumes takes the learning rate, decay and schedule that it is given."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.batch import Batch
from internlm2_core.callbacks import AtomicCheckpointIO
from internlm2_core.optim import Constant, Cosine
from torch.utils.data import DataLoader

Batches = Callable[[int], list[Batch]]
StepLR = torch.optim.lr_scheduler.StepLR


class Rates(L.Callback):
    def __init__(self) -> None:
        self.taken: list[float] = []
        self.decays: list[float] = []

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        groups = trainer.optimizers[0].param_groups
        self.taken.append(groups[0]["lr"])
        self.decays.append(groups[0]["weight_decay"])


def fit(tiny: ModelSize, data: list[Batch], steps: int, ckpt_path: Path, lr: float, **settings: Any) -> Rates:
    def make() -> LanguageModel:
        net = LanguageModel(tiny)
        net.init_weights(torch.Generator().manual_seed(0))
        return net

    rates, quiet = Rates(), {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[rates],
        plugins=[AtomicCheckpointIO()],
        enable_checkpointing=False,
        **quiet,
    )
    module = LM(make, partial(torch.optim.AdamW, lr=lr), **settings)
    trainer.fit(module, DataLoader(data, batch_size=None), ckpt_path=ckpt_path)  # type: ignore[arg-type]
    return rates


@pytest.fixture
def saved(tiny: ModelSize, batches: Batches, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint after 4 steps of a learning rate of 0.01."""

    def save(schedule: Any) -> Path:
        module = LM(lambda: LanguageModel(tiny), partial(torch.optim.AdamW, lr=0.01), schedule)
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(accelerator="cpu", max_steps=4, enable_checkpointing=False, **quiet)  # type: ignore[arg-type]
        trainer.fit(module, DataLoader(batches(4), batch_size=None))  # type: ignore[arg-type]
        trainer.save_checkpoint(tmp_path / "a.ckpt")
        return tmp_path / "a.ckpt"

    return save


def test_another_rate_decay_and_schedule_take_effect(tiny: ModelSize, batches: Batches, saved: Any) -> None:
    path = saved(Cosine(8))
    same = fit(tiny, batches(8), 8, path, 0.01, schedule=Cosine(8))
    assert same.taken == [0.01 * Cosine(8)(step) for step in range(4, 8)]
    smaller = fit(tiny, batches(8), 8, path, 0.001, schedule=Cosine(8), weight_decay=0.3)
    assert smaller.taken == pytest.approx([0.001 * Cosine(8)(step) for step in range(4, 8)])
    assert set(smaller.decays) == {0.3}
    constant = fit(tiny, batches(8), 8, path, 0.001, schedule=Constant())
    assert constant.taken == [0.001] * 4
    longer = fit(tiny, batches(8), 8, path, 0.01, schedule=Cosine(20))
    assert longer.taken == [0.01 * Cosine(20)(step) for step in range(4, 8)]


def test_schedulers_of_torch_are_moved_by_the_quotient(tiny: ModelSize, batches: Batches, saved: Any) -> None:
    halves = partial(StepLR, step_size=2, gamma=0.5)
    path = saved(halves)
    assert fit(tiny, batches(8), 8, path, 0.01, schedule=halves).taken == [0.0025, 0.0025, 0.00125, 0.00125]
    moved = fit(tiny, batches(8), 8, path, 0.004, schedule=halves).taken
    assert moved == pytest.approx([0.001, 0.001, 0.0005, 0.0005])


def test_a_checkpoint_holds_no_object_of_the_schedule(saved: Any) -> None:
    content = torch.load(saved(Cosine(8)), weights_only=True)
    assert content["lr_schedulers"][0]["lr_lambdas"] == [None, None]


def test_a_finished_run_takes_no_other_settings(tiny: ModelSize, batches: Batches, saved: Callable[..., Path]) -> None:
    path = saved(Constant())
    # Nothing is left to train, and nothing differs but memory.
    assert fit(tiny, batches(4), 4, path, 0.01, schedule=Constant(), micro_batch_rows=1).taken == []
    with pytest.raises(ValueError, match=r"is finished, after step 4, and had other settings \(optimizer, z_loss\)"):
        fit(tiny, batches(4), 4, path, 0.001, schedule=Constant(), z_loss=0.1)
    assert fit(tiny, batches(6), 6, path, 0.001, schedule=Constant()).taken == [0.001, 0.001]
