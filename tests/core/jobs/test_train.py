"""A run that was killed ends with exactly the weights of one that was not."""

import csv
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.callbacks import (
    AtomicCheckpointIO,
    Checkpoints,
    ExportModel,
    SampleAnswers,
    StepProgress,
    Throughput,
    ValidateLast,
)
from internlm2_core.callbacks.throughput import mfu
from internlm2_core.checkpoint.released import load_released
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.jobs import generate, train
from internlm2_core.loggers import ContinuedCSVLogger
from internlm2_core.optim import Cosine
from internlm2_core.text import TrainedTokenizer
from safetensors.torch import load_file

SIZE = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=300, head_dim=8, max_positions=16)


class CountingLoader:
    """Batches that depend on a counter, which is the loader's whole state."""

    def __init__(self, first: int = 0, length: int = 1_000) -> None:
        self.step, self.length = first, length

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(self.length):
            ids = torch.randint(0, 300, (2, 8), generator=torch.Generator().manual_seed(self.step))
            self.step += 1
            yield {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(8).expand(2, 8)}

    def __len__(self) -> int:
        return self.length

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]


class Again(CountingLoader):
    """The same batches in every pass."""

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        return iter(list(CountingLoader.__iter__(CountingLoader(self.step, self.length))))


class CountingData(L.LightningDataModule):
    def __init__(self, first: int = 0, length: int = 1_000, validation: dict[str, int] | None = None) -> None:
        super().__init__()
        self.first, self.length, self.validation = first, length, validation or {}
        self.validation_names = list(self.validation)

    def train_dataloader(self) -> CountingLoader:
        return CountingLoader(self.first, self.length)

    def val_dataloader(self) -> list["Again"]:
        return [Again(first, 4) for first in self.validation.values()]

    def steps_per_pass(self, replicas: int) -> int:
        assert replicas == 1
        return self.length


class KillAt(L.Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == self.step:
            raise RuntimeError("killed")


@pytest.fixture
def tokenizer(tokenizer_file: Path) -> TrainedTokenizer:
    return TrainedTokenizer(tokenizer_file)


def run(
    folder: Path,
    tokenizer: TrainedTokenizer,
    extra: list[L.Callback] | None = None,
    data: CountingData | None = None,
    saver: Checkpoints | None = None,
    **settings: Any,
) -> dict[str, torch.Tensor]:
    def make() -> LanguageModel:
        net = LanguageModel(SIZE)
        net.init_weights(torch.Generator().manual_seed(0))
        return net

    data = data or CountingData()
    steps = settings.pop("max_steps", 7)
    own = [ExportModel(folder / "model"), Throughput(peak_tflops=1.0, window_steps=1), StepProgress(), ValidateLast()]
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=settings.pop("max_epochs", -1),
        logger=settings.pop("logger", False),
        callbacks=[saver or Checkpoints(folder / "checkpoints", every_n_train_steps=2), *own, *(extra or [])],
        plugins=[AtomicCheckpointIO()],
        enable_model_summary=False,
        use_distributed_sampler=False,
        val_check_interval=3 if data.validation else None,
        check_val_every_n_epoch=None if data.validation else 1,
        limit_val_batches=2,
    )
    schedule = Cosine(settings.pop("total_steps", steps), settings.pop("warmup_steps", 0))
    train(LM(make, partial(torch.optim.AdamW, lr=1e-2), schedule, tokenizer), data, trainer, str(folder), **settings)
    return load_file(folder / "model" / "model.safetensors")


def test_a_killed_run_continues_to_the_same_weights(tmp_path: Path, tokenizer: TrainedTokenizer) -> None:
    undisturbed = run(tmp_path / "whole", tokenizer)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", tokenizer, [KillAt(5)])
    assert not (tmp_path / "killed" / "model").exists()
    continued = run(tmp_path / "killed", tokenizer)
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)
    record = json.loads((tmp_path / "killed" / "training.json").read_text())
    assert record["steps"] == 7
    # 16 tokens a step; those before the kill are counted too.
    assert record["figures"]["train/tokens"] == 7 * 16


def test_validation_sets_are_logged_by_name(tmp_path: Path, tokenizer: TrainedTokenizer) -> None:
    log = ContinuedCSVLogger(tmp_path, name="logs", version="csv")
    run(tmp_path, tokenizer, data=CountingData(validation={"helpful": 500, "maths": 600}), logger=log)
    figures = json.loads((tmp_path / "training.json").read_text())["figures"]
    net = load_released(tmp_path / "model")
    for name, first in (("helpful", 500), ("maths", 600)):
        # The first two batches, at the last step as at those before.
        expected = [mean_loss(net, batch) for batch, _ in zip(CountingLoader(first), range(2), strict=False)]
        assert figures[f"valid/{name}"] == pytest.approx(sum(expected) / 2, abs=1e-5)
    assert {name for name in figures if "valid" in name} == {"valid/helpful", "valid/maths"}
    with (tmp_path / "logs" / "csv" / "metrics.csv").open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file) if row["valid/maths"]]
    assert [step + 1 for step in steps] == [3, 6, 7]


def mean_loss(net: LanguageModel, batch: dict[str, torch.Tensor]) -> float:
    logits = net(batch["input_ids"], batch["position_ids"])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten()).item()


def test_a_killed_run_with_validation_continues_to_the_same_weights(
    tmp_path: Path, tokenizer: TrainedTokenizer
) -> None:
    undisturbed = run(tmp_path / "whole", tokenizer)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", tokenizer, [KillAt(5)], data=CountingData(validation={"maths": 600}))
    continued = run(tmp_path / "killed", tokenizer, data=CountingData(validation={"maths": 600}))
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)


@pytest.mark.parametrize(("passes", "steps"), [(-1, 5), (3, 15)])
def test_steps_that_nobody_gives_are_those_of_passes(
    tmp_path: Path, tokenizer: TrainedTokenizer, passes: int, steps: int
) -> None:
    five = CountingData(length=5)
    weights = run(tmp_path / "passes", tokenizer, data=five, max_steps=-1, max_epochs=passes)
    assert json.loads((tmp_path / "passes" / "training.json").read_text())["steps"] == steps
    counted = run(tmp_path / "counted", tokenizer, data=five, max_steps=steps)
    assert all(torch.equal(weights[name], counted[name]) for name in weights)


def test_a_pass_that_is_stopped_before_its_end_goes_on_with_its_schedule(
    tmp_path: Path, tokenizer: TrainedTokenizer
) -> None:
    whole = run(tmp_path / "whole", tokenizer, data=CountingData(length=8), max_steps=-1)
    first = run(tmp_path / "halves", tokenizer, data=CountingData(length=8), max_steps=4, total_steps=-1)
    second = run(tmp_path / "halves", tokenizer, data=CountingData(length=8), max_steps=-1)
    assert all(torch.equal(whole[name], second[name]) for name in whole)
    assert not all(torch.equal(first[name], second[name]) for name in whole)


def test_a_warm_up_that_is_cut_is_told(
    tmp_path: Path, tokenizer: TrainedTokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, tokenizer, data=CountingData(length=5), max_steps=-1, warmup_steps=100)
    assert "the warm-up takes 0 steps instead of warmup_steps=100: the schedule has only 5 steps" in caplog.text


def test_answers_during_training_change_nothing(tmp_path: Path, tokenizer: TrainedTokenizer) -> None:
    samples = SampleAnswers({"hello": "hi", "你好": "你好"}, tokenizer, tmp_path, every_steps=3, max_new_tokens=5)
    watched, alone = run(tmp_path / "watched", tokenizer, [samples]), run(tmp_path / "alone", tokenizer)
    assert all(torch.equal(watched[name], alone[name]) for name in alone)
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    assert [(line["step"], line["name"]) for line in lines] == [(s, n) for s in (3, 6, 7) for n in ("hello", "你好")]
    # After the last step the model says what the one on disk says.
    greedy = Sampling(max_new_tokens=5, temperature=0)
    engine = LocalEngine(load_released(tmp_path / "watched" / "model"))
    for line in lines[-2:]:
        folder = str(tmp_path / "watched" / "model")
        said = generate(folder, line["prompt"], is_chat=True, system=None, sampling=greedy, engine=lambda _: engine)
        assert line["answer"] == said


def test_the_model_answers(tmp_path: Path, tokenizer: TrainedTokenizer, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path / "run", tokenizer)
    greedy = Sampling(max_new_tokens=4, temperature=0)
    text = generate(str(tmp_path / "run" / "model"), "hi", is_chat=False, system=None, sampling=greedy)
    assert capsys.readouterr().out.endswith(text + "\n")
    with pytest.raises(ValueError, match="prompt='' must not be empty"):
        generate(str(tmp_path / "run" / "model"), "", is_chat=True, system=None, sampling=greedy)


def test_mfu_by_hand() -> None:
    # 10 tokens/s of 5 GFLOP each on a device of 0.2 TFLOP/s: 50 of 200 GFLOP/s.
    assert mfu(10.0, 5e9, 0.2) == pytest.approx(0.25)


class KillAtTheEnd(L.Callback):
    def on_train_end(self, *_: Any) -> None:
        raise RuntimeError("killed")


def test_a_run_killed_before_its_export_still_exports(tmp_path: Path, tokenizer: TrainedTokenizer) -> None:
    each_step = Checkpoints(tmp_path / "killed" / "checkpoints", every_n_train_steps=1)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", tokenizer, [KillAtTheEnd()], saver=each_step)
    continued = run(tmp_path / "killed", tokenizer)
    undisturbed = run(tmp_path / "whole", tokenizer)
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)


class StopAt(L.Callback):
    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == 3


def test_a_run_that_something_stops_early_exports_what_it_has(tmp_path: Path, tokenizer: TrainedTokenizer) -> None:
    run(tmp_path, tokenizer, [StopAt()])
    assert json.loads((tmp_path / "training.json").read_text())["steps"] == 3


def test_a_run_resumes_from_wherever_its_checkpoints_are(tmp_path: Path, tokenizer: TrainedTokenizer) -> None:
    undisturbed = run(tmp_path / "whole", tokenizer)
    with pytest.raises(RuntimeError, match="killed"):
        run(tmp_path / "killed", tokenizer, [KillAt(5)], saver=Checkpoints(tmp_path / "elsewhere", 2))
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"last.ckpt", "step-4.ckpt"}

    class FirstStep(L.Callback):
        seen: int | None = None

        def on_train_start(self, trainer: L.Trainer, *_: Any) -> None:
            self.seen = trainer.global_step

    first = FirstStep()
    continued = run(tmp_path / "killed", tokenizer, [first], saver=Checkpoints(tmp_path / "elsewhere", 2))
    assert first.seen == 4
    assert all(torch.equal(undisturbed[name], continued[name]) for name in undisturbed)
    assert {path.name for path in (tmp_path / "elsewhere").iterdir()} == {"last.ckpt", "step-7.ckpt"}


def test_a_model_without_a_tokenizer_to_write_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokenizer=None must be a tokenizer with a file"):
        run(tmp_path, None)  # type: ignore[arg-type]
    assert not (tmp_path / "checkpoints").exists()


def test_callbacks_of_another_module_are_refused_in_words(tmp_path: Path) -> None:
    class Other(L.LightningModule):
        pass

    with pytest.raises(ValueError, match=r"ExportModel writes LM, and callbacks with it do not fit Other\."):
        ExportModel(tmp_path).setup(L.Trainer(logger=False), Other(), "fit")
