"""What is not finite never reaches the weights, a checkpoint or an export."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.batch import Batch
from internlm2_core.callbacks import AtomicCheckpointIO, Checkpoints
from internlm2_core.training import NotFiniteError
from internlm2_core.training.finite import are_finite
from torch.utils.data import DataLoader


class Overflow(L.Callback):
    """Infinite gradients, and a finite loss, in batches number ``first`` to ``last``."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last, self.losses = first, last, list[float]()
        self.norms, self.left_out = list[float](), list[float]()

    def on_train_batch_start(self, trainer: L.Trainer, module: LM, batch: Any, index: int) -> None:  # type: ignore[override]
        if index == self.first:
            self.hook = module.net.output.weight.register_hook(lambda gradient: gradient * math.inf)
        if index == self.last + 1:
            self.hook.remove()

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.losses.append(float(outputs["loss"]))
        self.norms.append(float(trainer.callback_metrics["train/grad_norm"]))
        self.left_out.append(float(trainer.callback_metrics["train/steps_left_out"]))


def fit(tiny: ModelSize, data: list[Batch], steps: int, *callbacks: L.Callback, **settings: Any) -> LM:
    def make() -> LanguageModel:
        net = LanguageModel(tiny)
        net.init_weights(torch.Generator().manual_seed(0))
        return net

    module = LM(make, **settings)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, Checkpoints) for callback in callbacks),
    )
    trainer.fit(module, DataLoader(data, batch_size=None))  # type: ignore[arg-type]
    assert trainer.global_step == steps
    return module


Batches = Callable[[int], list[Batch]]


def test_one_infinite_gradient_in_100_steps_leaves_no_trace(tiny: ModelSize, batches: Batches) -> None:
    data, watch = batches(101), Overflow(41, 41)
    disturbed = fit(tiny, data, 100, watch)
    without_it = fit(tiny, data[:41] + data[42:], 100)
    torch.testing.assert_close(disturbed.net.state_dict(), without_it.net.state_dict(), rtol=0, atol=0)
    undisturbed = Overflow(1000, 1000)
    fit(tiny, data[:100], 100, undisturbed)
    noise = torch.tensor(undisturbed.losses[-20:]).std()
    assert abs(sum(watch.losses[-20:]) - sum(undisturbed.losses[-20:])) / 20 < noise
    assert [index for index, norm in enumerate(watch.norms) if not math.isfinite(norm)] == [41]
    assert (watch.left_out[40], watch.left_out[41], watch.left_out[-1]) == (0, 1, 1)


def test_the_norm_logged_is_that_of_the_gradient_before_clipping(tiny: ModelSize, batches: Batches) -> None:
    watch = Overflow(1000, 1000)
    module = fit(tiny, batches(1), 1, watch, max_grad_norm=0.0)
    by_hand = sum(weight.grad.double().square().sum() for weight in module.net.parameters() if weight.grad is not None)
    assert watch.norms == [pytest.approx(math.sqrt(by_hand), rel=1e-5)]
    clipped = Overflow(1000, 1000)
    module = fit(tiny, batches(1), 1, clipped, max_grad_norm=0.01)
    assert clipped.norms == [pytest.approx(watch.norms[0])]
    after = sum(weight.grad.double().square().sum() for weight in module.net.parameters() if weight.grad is not None)
    assert math.sqrt(after) == pytest.approx(0.01, rel=1e-3)


def test_many_in_a_row_end_the_run_at_its_last_good_checkpoint(
    tiny: ModelSize, batches: Batches, tmp_path: Path
) -> None:
    data, watch = batches(40), Overflow(13, 40)
    savers = Checkpoints(tmp_path / "kept", every_n_train_steps=4)
    with pytest.raises(NotFiniteError, match=r"After step 13, 5 steps in a row .* gradient norm inf.* most_left_out=5"):
        fit(tiny, data, 30, watch, savers, most_left_out=5)
    assert len(watch.losses) == 17
    kept = torch.load(tmp_path / "kept" / "step-12.ckpt", weights_only=True)
    assert kept["global_step"] == 12 and all(weight.isfinite().all() for weight in kept["state_dict"].values())


def test_a_good_step_in_between_starts_the_row_anew(tiny: ModelSize, batches: Batches) -> None:
    module = fit(tiny, batches(20), 10, Overflow(2, 4), Overflow(6, 8), most_left_out=4)
    assert module.left_out.total == 6


class Break(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: L.Trainer, module: Any, *_: Any) -> None:
        if trainer.global_step == self.step:
            with torch.no_grad():
                module.net.model.norm.weight[0] = math.nan


def test_weights_that_are_not_finite_replace_no_checkpoint(tiny: ModelSize, batches: Batches, tmp_path: Path) -> None:
    with pytest.raises(
        NotFiniteError, match=r"The checkpoint of step 6 is not written, since net\.model\.norm\.weight"
    ):
        fit(tiny, batches(9), 9, Break(6), Checkpoints(tmp_path, every_n_train_steps=3))
    found = [path.name for path in tmp_path.glob("step-*")]
    assert found == ["step-3.ckpt"]


def test_a_broken_model_is_not_exported(tiny: ModelSize, batches: Batches, tmp_path: Path) -> None:
    module = fit(tiny, batches(2), 2, Break(2))
    with pytest.raises(NotFiniteError, match=r"model is not written, since model\.norm\.weight is not finite"):
        module.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_no_steps_at_all_cannot_be_left_out(tiny: ModelSize) -> None:
    with pytest.raises(ValueError, match="most_left_out=0 must be 1 or more"):
        LM(lambda: LanguageModel(tiny), most_left_out=0)


def test_the_learning_rate_logged_is_the_one_taken(tiny: ModelSize, batches: Batches) -> None:
    class Rates(L.Callback):
        taken, logged = list[float](), list[float]()

        def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
            self.taken.append(trainer.optimizers[0].param_groups[0]["lr"])

        def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
            self.logged.append(float(trainer.callback_metrics["train/lr"]))

    rates = Rates()
    fit(tiny, batches(4), 4, rates, schedule=lambda step: 1 / (1 + step))
    assert rates.logged == pytest.approx(rates.taken) and len(set(rates.taken)) == 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(dtype: torch.dtype, bad: float) -> None:
    for place in (0, 17, 999):
        numbers = torch.linspace(-1, 1, 1000).to(dtype)
        assert are_finite([numbers, torch.zeros(0), torch.ones(2, dtype=torch.int64), torch.tensor(1.0)])
        numbers[place] = bad
        assert not are_finite([torch.ones(2), numbers])
    assert are_finite([]) and not are_finite([torch.tensor(bad)])
