"""A run that is stopped and killed again and again continues each time from its newest whole checkpoint."""

import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from internlm2_core.training.found import newest, step_of
from internlm2_data.tokens import TokenWriter
from safetensors.torch import load_file

from tests.command import internlm2, started

pytestmark = pytest.mark.slow

STEPS = 90


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    random = np.random.default_rng(1)
    (folder / "tokens").mkdir()
    with TokenWriter(folder / "tokens" / "web", 300) as out:
        for _ in range(40):
            out.add(random.integers(0, 250, 60).tolist())
    return folder


@pytest.fixture
def words(tokenizer_file: Path) -> Callable[..., list[str]]:
    """The words of a short pre-training into a folder."""

    def words(output: str, *more: str) -> list[str]:
        shape = [
            "model=tiny",
            "phase.context=32",
            "phase.short_context=32",
            "phase.batch_rows=2",
            f"phase.steps={STEPS}",
            "phase.warmup_steps=0",
        ]
        where = ["tokens=tokens", f"tokenizer.path={tokenizer_file}", "logger=none", f"output={output}"]
        return ["pretrain", *shape, *where, "checkpoint_every=10", "callbacks=[default,watch]", *more]

    return words


def wait_for_step(kept: Path, step: int, process: object) -> None:
    """Until a checkpoint of that step or a later one is there."""
    until = time.monotonic() + 120
    while (
        max((int(found[1]) for path in kept.glob("step-*") if (found := re.search(r"(\d+)", path.name))), default=0)
        < step
    ):
        assert time.monotonic() < until and process.exitcode is None  # type: ignore[attr-defined]
        time.sleep(0.01)


def test_every_start_continues_from_the_newest_checkpoint(folder: Path, words: Callable[..., list[str]]) -> None:
    assert internlm2(*words("whole"), folder=folder).returncode == 0
    kept, before = folder / "run" / "checkpoints", 0
    for name in ("SIGUSR1", "SIGKILL", "SIGKILL"):
        process = started(*words("run"), folder=folder, streams=folder)
        wait_for_step(kept, before + 15, process)
        os.kill(process.pid, signal.Signals[name])
        process.join(60)
        assert process.exitcode == (-signal.SIGKILL if name == "SIGKILL" else 75), (folder / "err").read_text()
        found = newest(kept)
        assert found is not None
        step = step_of(found)
        assert step is not None and step > before
        assert (kept / "last.ckpt").resolve() == found.resolve() or name == "SIGKILL"
        before = step
    assert internlm2(*words("run"), folder=folder).returncode == 0
    assert sorted(path.name for path in kept.iterdir() if not path.name.startswith(".")) == [
        "last.ckpt",
        f"step-{STEPS}.ckpt",
    ]
    whole, resumed = (load_file(folder / name / "model" / "model.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_killed_run_gives_a_model(folder: Path, words: Callable[..., list[str]], tmp_path: Path) -> None:
    process = started(*words("killed"), folder=folder, streams=folder)
    wait_for_step(folder / "killed" / "checkpoints", 20, process)
    process.kill()
    process.join(60)
    kept = newest(folder / "killed" / "checkpoints")
    assert kept is not None
    step = step_of(kept)
    done = internlm2("export", "checkpoint=killed", "to=exported", folder=folder)
    assert done.returncode == 0 and f"LM of killed/checkpoints/{kept.name}, after {step} steps" in done.stdout
    stored = torch.load(kept, weights_only=True)["state_dict"]
    exported = load_file(folder / "exported" / "model.safetensors")
    assert all(torch.equal(exported[name.removeprefix("net.")], weight) for name, weight in stored.items())
    # To ask the run itself to end there gives the same model.
    assert internlm2(*words("killed", f"trainer.max_steps={step}"), folder=folder).returncode == 0
    again = load_file(folder / "killed" / "model" / "model.safetensors")
    assert all(torch.equal(again[name], weight) for name, weight in exported.items())
    # Twice the batch from here on, and what it was is recorded.
    changed = ["phase.batch_rows=4", "resume.change=[phase.batch_rows]", f"trainer.max_steps={step + 5}"]
    refused = internlm2(*words("killed", *changed[::2]), folder=folder)
    assert refused.returncode == 1 and "resume.change=[phase.batch_rows]" in refused.stderr
    assert internlm2(*words("killed", *changed), folder=folder).returncode == 0
    record = json.loads((folder / "killed" / "training.json").read_text())
    assert record["figures"]["train/tokens"] == (2 * step + 4 * 5) * 32
    [change] = json.loads((folder / "killed" / "settings.json").read_text())["changes"]
    assert change["was"] == {"phase.batch_rows": 2}
    missing = internlm2("export", "checkpoint=nowhere", "to=exported", folder=folder)
    assert missing.returncode == 1 and "checkpoint=nowhere does not exist." in missing.stderr
