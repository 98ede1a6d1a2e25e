"""Processes that are killed at random points of training, export and convert.

After every kill the checkpoint holds exactly the weights of an undisturbed run at its step, no step that was saved before
is lost, and the model folder is one whole model. INTERNLM2_KILLS=200 kills more often: with it, 66 kills each of training,
export and convert all passed on 2026-11-29, beside other work on two cores.
"""

import hashlib
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.callbacks import AtomicCheckpointIO, Checkpoints, ExportModel
from internlm2_core.checkpoint.any_layout import read_model
from internlm2_core.jobs import convert, export
from internlm2_core.optim import Constant
from internlm2_core.text import load_tokenizer
from internlm2_core.training.found import newest, step_of
from internlm2_core.training.run import run
from internlm2_parallel.health import Preemption

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("INTERNLM2_KILLS", "12"))
SIGNALS = ("SIGKILL", "SIGTERM", "SIGINT")
STEPS, EVERY = 60, 4
SIZE = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=300, head_dim=8, max_positions=16)


class Counted(L.LightningDataModule):
    """Batches that depend on a counter, which is the loader's whole state."""

    step = 0

    def __len__(self) -> int:
        return 10_000  # Lightning reads one batch ahead of a loader without an end

    def train_dataloader(self) -> "Counted":
        return self

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        while True:
            ids = torch.randint(0, 300, (2, 8), generator=torch.Generator().manual_seed(self.step))
            self.step += 1
            yield {"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": torch.arange(8).expand(2, 8)}

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.step = state["step"]


class Digests(L.Callback):
    """The weights after each step."""

    def __init__(self) -> None:
        self.after: dict[int, str] = {}

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        self.after[trainer.global_step] = digest(module.state_dict().items())


def digest(weights: Iterable[tuple[str, torch.Tensor]]) -> str:
    found = hashlib.sha256()
    for name, weight in sorted(weights):
        found.update(name.removeprefix("net.").encode() + weight.contiguous().numpy().tobytes())
    return found.hexdigest()


def made() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0))
    return net


def train(folder: Path, tokenizer_file: Path, *callbacks: L.Callback, steps: int = STEPS) -> None:
    torch.set_num_threads(1)  # threads of the parent are not in a fork
    kept = Checkpoints(folder / "checkpoints", every_n_train_steps=EVERY)
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[ExportModel(folder / "model"), kept, Preemption(requeue=False), *callbacks],
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    module = LM(made, partial(torch.optim.AdamW, lr=1e-2), Constant(0), load_tokenizer(tokenizer_file))
    run(trainer, module, Counted(), folder)


def killed(draw: random.Random, longest_s: float, work: Callable[..., None], *args: Any) -> str:
    """Kill a process within so many seconds. Gives the signal, or nothing where the work was done before."""
    process = multiprocessing.get_context("fork").Process(target=work, args=args)
    process.start()
    process.join(draw.uniform(0, longest_s))
    name = draw.choice(SIGNALS) if process.exitcode is None else ""
    if name:
        os.kill(process.pid or 0, signal.Signals[name])
    process.join(10)  # Python ignores an interrupt in the middle of a finaliser
    process.kill()
    process.join()
    return name if process.exitcode != 0 else ""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> tuple[dict[int, str], float, Path]:
    """Weights after each step of an undisturbed run, its seconds, and its folder."""
    digests, folder, start = Digests(), tmp_path_factory.mktemp("whole"), time.monotonic()
    train(folder, tokenizer_file, digests)
    return digests.after, time.monotonic() - start, folder


def test_training(tmp_path: Path, tokenizer_file: Path, whole: tuple[dict[int, str], float, Path]) -> None:
    digests, seconds, _ = whole
    draw, before, finished, kills = random.Random(1), 0, 0, 0
    while kills < KILLS // 3:
        kills += killed(draw, seconds, train, tmp_path, tokenizer_file) != ""
        found = newest(tmp_path / "checkpoints")
        step = 0 if found is None else step_of(found)
        assert step is not None and step >= before, "a step that was saved is lost"
        if found is not None:
            assert digest(torch.load(found, weights_only=True)["state_dict"].items()) == digests[step]
        if (tmp_path / "model").exists():
            assert digest(read_model(tmp_path / "model")) == digests[STEPS]
        else:
            assert not finished, "the model is gone"
        if step == STEPS:  # begin again, and replace the model
            finished += 1
            shutil.rmtree(tmp_path / "checkpoints")
        before = step % STEPS
    train(tmp_path, tokenizer_file)
    assert digest(read_model(tmp_path / "model")) == digests[STEPS]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["last.ckpt", f"step-{STEPS}.ckpt"]
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoints", "model", "training.json"}


def again_and_again(write: Callable[..., None], sources: list[tuple[str, ...]]) -> None:
    torch.set_num_threads(1)
    for words in cycle(sources):
        write(*words)


@pytest.mark.parametrize("name", ["export", "convert"])
def test_what_is_written(
    name: str, tmp_path: Path, tokenizer_file: Path, whole: tuple[dict[int, str], float, Path]
) -> None:
    digests, _, folder = whole
    place, late, early = (str(tmp_path / each) for each in ("model", "late", "early"))
    shutil.copytree(folder, late)
    train(Path(early), tokenizer_file, steps=EVERY)
    if name == "export":
        work = partial(again_and_again, export, [(early, place), (late, place)])
    else:
        words = [(f"{early}/model", place, "llama"), (f"{late}/model", place, "released")]
        work = partial(again_and_again, convert, words)
    draw, seen = random.Random(name), set[str]()
    for _ in range(KILLS // 3):
        killed(draw, 0.5, work)
        if Path(place).exists():
            seen.add(found := digest(read_model(place)))
            assert found in (digests[EVERY], digests[STEPS]), "a model that is half one, half another"
            assert LM.load(place).tokenizer is not None
        else:
            assert not seen, "the model is gone"
    assert seen
    work.args[0](*work.args[1][0])  # which removes what killed processes have left
    assert {path.name for path in tmp_path.iterdir()} == {"model", "late", "early"}
