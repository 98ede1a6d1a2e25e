"""A run is watched: each checkpoint is measured once, whoever watches and dies, and the best one is found by any figure."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.callbacks import AtomicCheckpointIO, Checkpoints
from internlm2_core.checkpoint import any_layout
from internlm2_core.evaluation.watching import best, watch
from internlm2_core.evaluation.watching.found import checkpoints_of, held, is_finished
from internlm2_core.evaluation.watching.record import evaluations_of, numbers
from internlm2_core.optim import Constant
from internlm2_core.text import load_tokenizer
from internlm2_core.training.run import run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.data import DataLoader

SIZE = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=300, head_dim=8, max_positions=16)
STEPS = (2, 4, 6, 8)


class Random(L.LightningDataModule):
    """The same rows, again and again."""

    def train_dataloader(self) -> DataLoader[Any]:
        ids = torch.randint(0, 300, (64, 8), generator=torch.Generator().manual_seed(1))
        rows = [{"input_ids": row, "labels": row.roll(-1), "position_ids": torch.arange(8)} for row in ids]
        return DataLoader(rows, batch_size=2)  # type: ignore[arg-type]


def made() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0))
    return net


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    """A finished run with four checkpoints."""
    folder = tmp_path_factory.mktemp("trained")
    kept = Checkpoints(folder / "checkpoints", every_n_train_steps=2, keep_last=-1)
    trainer = L.Trainer(
        accelerator="cpu", max_steps=STEPS[-1], callbacks=[kept], plugins=[AtomicCheckpointIO()], logger=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = LM(made, partial(torch.optim.AdamW, lr=1e-2), Constant(0), load_tokenizer(tokenizer_file))
    run(trainer, module, Random(), folder)
    return folder


@pytest.fixture
def folder(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


VALUES = {2: 0.2, 4: 0.9, 6: 0.9, 8: 0.5}


class Measure:
    """Stands for an evaluation: reads the model and knows its step by its weights."""

    def __init__(self, slow_s: float = 0.0) -> None:
        self.slow_s = slow_s

    def __call__(self, checkpoint: str, output: str) -> dict[str, Any]:
        net = any_layout.load_model(checkpoint)
        step = int(Path(output).name.removeprefix("step-"))
        time.sleep(self.slow_s)
        norm = float(sum(weight.detach().double().square().sum() for weight in net.parameters()))
        with (Path(output).parent / "calls.txt").open("a") as calls:
            calls.write(f"{step}\n")
        return {
            "tasks": {"toy": {"accuracy": VALUES[step], "norm": norm, "languages": {"zh": {"count": 3}}, "on": True}}
        }


def calls(folder: Path, label: str = "toy") -> list[int]:
    return [int(line) for line in (folder / "evaluations" / label / "calls.txt").read_text().split()]


def test_every_checkpoint_is_measured_once_in_order(folder: Path) -> None:
    assert watch(str(folder), Measure(), "toy") == {"evaluated": [*STEPS], "finished": True}
    assert watch(str(folder), Measure(), "toy") == {"evaluated": [], "finished": True}
    found = evaluations_of(folder)
    assert [one.step for one in found] == calls(folder) == [*STEPS]
    assert found[1].figures["tasks.toy.accuracy"] == 0.9 and "tasks.toy.on" not in found[1].figures
    assert len({one.figures["tasks.toy.norm"] for one in found}) == 4, "the weights are those of each step"
    assert found[0].checkpoint == "step-2.ckpt" and found[0].output == "evaluations/toy/step-2"
    left = [path.name for path in (folder / "evaluations").rglob("*") if "held" in path.name or path.name == "model"]
    assert left == []
    # Another label is another kind of evaluation.
    assert watch(str(folder), Measure(), "other", which="newest")["evaluated"] == [8]


def test_tensorboard_shows_each_step_once(folder: Path) -> None:
    watch(str(folder), Measure(), "toy")
    logs = folder / "logs" / "evaluations-toy"
    (lost, *_) = logs.glob("*.step-4")
    lost.unlink()  # as if killed between the line and the event file
    watch(str(folder), Measure(), "toy")
    events = EventAccumulator(str(logs)).Reload()
    assert sorted(events.Tags()["scalars"]) == ["toy/accuracy", "toy/norm"]
    by_file = {}
    for file in logs.iterdir():
        (event,) = EventAccumulator(str(file)).Reload().Scalars("toy/accuracy")
        by_file[event.step] = event.value
    assert by_file == pytest.approx(VALUES) and len(list(logs.iterdir())) == len(VALUES)
    assert not list((folder / "logs").glob(".*"))


def test_a_run_is_followed_until_it_ends(folder: Path) -> None:
    waiting = folder.with_name("waiting")
    shutil.move(folder, waiting)
    found: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: found.update(watch(str(folder), Measure(), "toy", every_s=0.01)))
    thread.start()
    (folder / "checkpoints").mkdir(parents=True)
    for step in STEPS[:3]:
        (waiting / f"checkpoints/step-{step}.ckpt").replace(folder / f"checkpoints/step-{step}.ckpt")
        until = time.monotonic() + 60
        while step not in [one.step for one in evaluations_of(folder)] and time.monotonic() < until:
            time.sleep(0.01)
        (folder / f"checkpoints/step-{step}.ckpt").unlink()
    assert thread.is_alive(), "training has not finished"
    (waiting / "checkpoints/step-8.ckpt").replace(folder / "checkpoints/step-8.ckpt")
    shutil.copy(waiting / "training.json", folder)
    thread.join(60)
    assert found["finished"] and calls(folder) == [*STEPS]


def test_a_run_that_continues_is_not_finished(folder: Path) -> None:
    assert is_finished(folder)
    record = json.loads((folder / "training.json").read_text())
    (folder / "training.json").write_text(json.dumps(record | {"steps": 6}))  # of an earlier, shorter attempt
    assert not is_finished(folder)
    assert watch(str(folder), Measure(), "toy", every_s=0.01, patience_s=0.02)["finished"] is False
    (folder / "training.json").write_text('{"steps"')
    assert not is_finished(folder)


def test_what_is_not_whole_is_left_alone(folder: Path) -> None:
    broken = folder / "checkpoints/step-4.ckpt"
    broken.write_bytes(broken.read_bytes()[:1000])
    assert [*checkpoints_of(folder)] == [2, 6, 8]
    assert checkpoints_of(folder.with_name("none")) == {}


def test_a_checkpoint_is_held_while_training_removes_it(folder: Path) -> None:
    path = folder / "checkpoints/step-2.ckpt"
    with held(path, folder / "scratch.ckpt") as own:
        path.unlink()
        assert own is not None and torch.load(own, weights_only=True)["global_step"] == 2
    assert not (folder / "scratch.ckpt").exists()
    with held(path, folder / "scratch.ckpt") as own:
        assert own is None


def test_two_watchers_share_the_work(folder: Path) -> None:
    fork = multiprocessing.get_context("fork")
    both = [fork.Process(target=watch, args=(str(folder), Measure(0.1), "toy")) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    assert sorted(calls(folder)) == [*STEPS] and len(evaluations_of(folder)) == 4


def test_watchers_that_are_killed_are_started_again(folder: Path) -> None:
    draw, fork, kills = random.Random(1), multiprocessing.get_context("fork"), 0
    while kills < 6:
        process = fork.Process(target=watch, args=(str(folder), Measure(0.2), "toy"))
        process.start()
        process.join(draw.uniform(0.05, 0.5))
        if process.exitcode is None:
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join()
        if process.exitcode == 0:
            break
    with (folder / "evaluations.jsonl").open("a") as lines:
        lines.write('{"step": 8, "la')
    watch(str(folder), Measure(), "toy")
    assert sorted(one.step for one in evaluations_of(folder)) == [*STEPS]
    assert {one.figures["tasks.toy.accuracy"] for one in evaluations_of(folder)} == set(VALUES.values())


def test_the_best_is_found_by_any_figure(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FileNotFoundError, match="has no evaluations"):
        best(str(folder), "tasks.toy.accuracy")
    watch(str(folder), Measure(), "toy")
    norms = {one.step: one.figures["tasks.toy.norm"] for one in evaluations_of(folder)}
    assert best(str(folder), "tasks.toy.norm", "min")["step"] == min(norms, key=lambda step: norms[step])
    found = best(str(folder), "tasks.toy.accuracy", to=str(tmp_path / "best"))
    assert (found["step"], found["value"], found["candidates"]) == (4, 0.9, 4)  # the earlier of two
    assert "step 4: tasks.toy.accuracy is 0.9, the max of 4" in capsys.readouterr().out
    net = any_layout.load_model(tmp_path / "best")
    assert float(sum(w.detach().double().square().sum() for w in net.parameters())) == pytest.approx(norms[4])
    for arguments, sentence in (
        ({"figure": "tasks.toy.acuracy"}, "figure=tasks.toy.acuracy must be one of tasks.toy.accuracy"),
        ({"figure": "x", "mode": "most"}, "mode=most must be one of max, min"),
        ({"figure": "x", "label": "none"}, "has no evaluations with label=none"),
    ):
        with pytest.raises((ValueError, FileNotFoundError), match=sentence):
            best(str(folder), **arguments)  # type: ignore[arg-type]


def test_the_best_model_is_kept_where_training_removes_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    watch(str(folder), Measure(), "toy", keep="tasks.toy.accuracy")
    kept = [path.parent.name for path in (folder / "evaluations").rglob("model")]
    assert kept == ["step-4"]
    shutil.rmtree(folder / "checkpoints")
    best(str(folder), "tasks.toy.accuracy", to=str(tmp_path / "best"))
    assert any_layout.load_model(tmp_path / "best").size == SIZE
    with pytest.raises(FileNotFoundError, match=r"The model of step 2 is gone: step-2.ckpt was removed"):
        best(str(folder), "tasks.toy.accuracy", "min", to=str(tmp_path / "worst"))


def test_mistakes_are_said_before_anything_is_kept(folder: Path) -> None:
    for arguments, sentence in (
        ({"which": "all"}, "which=all must be one of each, newest"),
        ({"label": "a/b"}, "label=a/b must be the name of a folder"),
        ({"keep": "accuracy"}, "keep=accuracy must be all, or one of tasks.toy.accuracy"),
    ):
        with pytest.raises(ValueError, match=sentence):
            watch(str(folder), Measure(), **({"label": "toy"} | arguments))  # type: ignore[arg-type]
    assert evaluations_of(folder) == []


def test_numbers_are_the_finite_ones() -> None:
    nested = {"a": {"b": 1, "c": {"d": 0.5}}, "e": "text", "f": [1, 2], "g": float("inf"), "h": None, "i": False}
    assert numbers(nested) == {"a.b": 1, "a.c.d": 0.5}
