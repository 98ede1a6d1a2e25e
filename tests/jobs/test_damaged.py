"""Checkpoints that were damaged on the disk: each is noticed, and a run resumes from the newest whole one.

INTERNLM2_DAMAGES=100 damages more often: with it, all of 100 files and 100 sharded folders passed on 2026-11-29.
"""

import json
import logging
import os
import random
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.callbacks import AtomicCheckpointIO, Checkpoints
from internlm2_core.training.found import newest, step_of
from internlm2_core.training.reading import checkpoint_at, read_checkpoint
from internlm2_core.training.run import resumes_from
from internlm2_parallel import MeshStrategy
from internlm2_parallel.__main__ import main
from internlm2_parallel.testing import run_ranks
from torch.utils.data import DataLoader

DAMAGES = int(os.environ.get("INTERNLM2_DAMAGES", "12"))
SIZE = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=60, head_dim=8, max_positions=16)
Weights = dict[str, torch.Tensor]


def made(size: ModelSize = SIZE) -> LanguageModel:
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(0))
    return net


def fit(folder: Path, steps: int, sharded: bool, make: Callable[[], LanguageModel] = made) -> Weights:
    """Train to a step, from the newest whole checkpoint of a folder. Gives the weights at the end."""

    def rank() -> Weights:
        ids, positions = torch.randint(0, 60, (2, 8), generator=torch.Generator().manual_seed(5)), torch.arange(8)
        # The same at each step, since this loader does not know where a run was.
        rows = [{"input_ids": ids, "labels": ids.roll(-1, 1), "position_ids": positions.expand(2, 8)}] * steps
        options: Any = (
            {"strategy": MeshStrategy.fsdp(), "devices": 2} if sharded else {"plugins": [AtomicCheckpointIO()]}
        )
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        saver = Checkpoints(folder, every_n_train_steps=2, keep_last=3)
        trainer = L.Trainer(accelerator="cpu", max_steps=steps, callbacks=[saver], **quiet, **options)
        module = LM(make, partial(torch.optim.AdamW, lr=1e-2))
        trainer.fit(module, DataLoader(rows, batch_size=None), ckpt_path=resumes_from(trainer))  # type: ignore[arg-type]
        return {n: getattr(w, "full_tensor", lambda w=w: w)().detach() for n, w in module.net.named_parameters()}

    if not sharded:
        return rank()
    return run_ranks(rank, 2, join=False)[0]


def flip(file: Path, draw: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    file.write_bytes(content)


def truncate(file: Path, draw: random.Random) -> None:
    os.truncate(file, draw.randrange(file.stat().st_size))


def half_written(file: Path, draw: random.Random) -> None:
    """The length is right, and what the machine had not written is zeros."""
    size, half = file.stat().st_size, draw.randrange(file.stat().st_size // 2)
    os.truncate(file, half)
    os.truncate(file, size)


def missing(file: Path, draw: random.Random) -> None:
    file.unlink()


KINDS = (flip, truncate, half_written, missing)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, tuple[Path, dict[int, Weights]]]:
    """Of files and of sharded folders: the checkpoints of steps 2, 4 and 6, and the weights in each."""
    torch.set_num_threads(1)
    found = {}
    for sharded in (False, True):
        folder = tmp_path_factory.mktemp("whole") / "checkpoints"
        fit(folder, 6, sharded)
        kept = {step: read_checkpoint(folder / f"step-{step}.ckpt")["state_dict"] for step in (2, 4, 6)}
        found[sharded] = folder, kept
    return found


@pytest.mark.parametrize("sharded", [False, True], ids=["file", "sharded"])
def test_each_damage_is_noticed_and_the_one_before_is_taken(
    sharded: bool, runs: dict[bool, tuple[Path, dict[int, Weights]]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (source, weights), draw, older = runs[sharded], random.Random(sharded), 0
    for number in range(DAMAGES):
        folder = tmp_path / str(number)
        shutil.copytree(source, folder, symlinks=True)
        last, damage = folder / "step-6.ckpt", KINDS[number % len(KINDS)]
        files = sorted(last.iterdir()) if sharded else [last]
        damage(draw.choice(files), draw)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            found = checkpoint_at(folder)
        step = step_of(found)
        # A flipped bit may lie where nothing reads it: padding of an archive, a blank of the manifest.
        assert step == 4 or (step == 6 and damage is flip), damage
        if step == 4 and last.exists():
            assert f"{last} is " in caplog.text and f"Resumes from {found}, the newest that is whole" in caplog.text
        older += step == 4
        for name, weight in read_checkpoint(found)["state_dict"].items():
            torch.testing.assert_close(weight, weights[step][name], rtol=0, atol=0)
        shutil.rmtree(folder)
    assert older > DAMAGES * 3 // 4


@pytest.mark.parametrize("sharded", [False, True], ids=["file", "sharded"])
def test_a_run_resumes_from_it_and_ends_as_an_undisturbed_one(
    sharded: bool, runs: dict[bool, tuple[Path, dict[int, Weights]]], tmp_path: Path
) -> None:
    (source, weights), folder = runs[sharded], tmp_path / "moved" / "checkpoints"
    shutil.copytree(source, folder, symlinks=True)
    (folder / "last.ckpt").unlink()
    last = folder / "step-6.ckpt"
    half_written(max(last.iterdir(), key=lambda file: file.stat().st_size) if sharded else last, random.Random(1))
    ended = fit(folder, 6, sharded)
    for name, weight in ended.items():
        torch.testing.assert_close(weight, weights[6][f"net.{name}"], rtol=0, atol=1e-6)
    assert newest(folder) == last  # written anew


@pytest.mark.parametrize("sharded", [False, True], ids=["file", "sharded"])
def test_a_checkpoint_of_another_model_is_refused(
    sharded: bool, runs: dict[bool, tuple[Path, dict[int, Weights]]], tmp_path: Path
) -> None:
    source, _ = runs[sharded]
    shutil.copytree(source, tmp_path / "run", symlinks=True)
    for changed, said in (
        (
            {"ffn_dim": 32},
            r"is of another model: net\.model\.layers\.0\.feed_forward\.w1\.weight is \[24, 16\] there and",
        ),
        ({"layers": 2}, r"is of another model: .*net\.model\.layers\.1\..*"),
    ):
        size = ModelSize(**{**vars(SIZE), **changed})
        with pytest.raises((ValueError, AssertionError), match=said):
            fit(tmp_path / "run", 8, sharded, lambda size=size: made(size))


def test_one_device_is_told_how_to_read_shards(
    runs: dict[bool, tuple[Path, dict[int, Weights]]], tmp_path: Path
) -> None:
    source, _ = runs[True]
    for name in ("sharded", "one"):
        shutil.copytree(source, tmp_path / name, symlinks=True)
    with pytest.raises(ValueError, match="sharded checkpoint, which SingleDeviceStrategy does not read") as refused:
        fit(tmp_path / "one", 8, sharded=False)
    told = str(refused.value).removesuffix(".").partition("python -m internlm2_parallel ")[2].split()
    assert main(told) == 0
    expected = fit(tmp_path / "sharded", 8, sharded=True)
    for name, weight in fit(tmp_path / "one", 8, sharded=False).items():
        torch.testing.assert_close(weight, expected[name], rtol=0, atol=1e-6)


def test_a_folder_that_is_given_is_compared_on_all_ranks(
    runs: dict[bool, tuple[Path, dict[int, Weights]]], tmp_path: Path
) -> None:
    source, _ = runs[True]
    path = tmp_path / "step-6.ckpt"
    shutil.copytree(source / "step-6.ckpt", path)
    shard = sorted(path.glob("*.distcp"))[-1]
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert json.loads((path / "manifest.json").read_text())["files"][shard.name]

    def rank() -> str:
        trainer = L.Trainer(accelerator="cpu", strategy=MeshStrategy.fsdp(), devices=2, max_steps=8, logger=False,
                            enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False)  # fmt: skip
        with pytest.raises(ValueError) as refused:
            trainer.fit(LM(made), DataLoader([{}]), ckpt_path=path)  # type: ignore[arg-type]
        return str(refused.value)

    [said] = set(run_ranks(rank, 2, join=False))
    assert said.startswith(f"ckpt_path={path} is damaged: {shard.name} differ from their checksums.")
