"""The commands of "From raw pages to a chat model", in order and as they are on the page, with next to no data."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SMALL = {
    "process": ("executor.workers=0",),
    "vocabulary": ("size=700",),
    "pretrain": (
        "trainer=default",
        "phase.context=64",
        "phase.short_context=32",
        "phase.steps=2",
        "phase.warmup_steps=1",
        "phase.batch_rows=2",
    ),
    "sft": ("trainer=default", "phase.batch_rows=2", "phase.context=64", "batches.overlong=cut"),
    "evaluate": ("device=cpu",),
    "label": ("samples=1", "sampling.max_new_tokens=4"),
    "reward": ("trainer.accelerator=cpu", "max_tokens=512", "batches.budget_tokens=1024"),
    "ppo": (
        *("trainer.accelerator=cpu", "queries=4", "iterations=2", "validate_every=1", "heldout_limit=4"),
        *(
            "settings.warmup_iterations=1",
            "sampling.max_new_tokens=4",
            "pretrain.context=64",
            "pretrain.short_context=32",
        ),
        *("pretrain.batch_rows=2", "max_tokens=512", "max_prompt_tokens=200"),
    ),
    "generate": ("max_new_tokens=4",),
}
NEEDLE = (
    "suite.held_out_loss.context=64",
    "suite.needle.lengths=[64]",
    "~suite.held_out_loss_long",
    "suite.needle.trials=1",
)


def small(words: list[str]) -> list[str]:
    more = [*SMALL.get(words[0], ()), *(NEEDLE if "suite=pretrain" in words else ())]
    groups = {word.partition("=")[0] for word in more}
    kept = [word for word in words if word.partition("=")[0] not in groups]
    return [word.replace("model=1.8b", "model=tiny") for word in kept] + more


def write_corpus(folder: Path) -> None:
    """English and Chinese pages that the filters keep, and a repository: what Python's installation holds."""
    text = Path(os.__file__).read_text()
    (folder / "crawl").mkdir()
    (folder / "repositories/mine").mkdir(parents=True)
    for number in range(3):
        sentence = f"The river number {number} carries clear water from the hills to the sea, and the people of the town drink it. "
        words = [
            f"{sentence}On day {day} the boats of the {day % 7} villages went out early and came back late."
            for day in range(60)
        ]
        (folder / f"crawl/{number}.txt").write_text("\n".join(words))
        chinese = [
            f"第{day}天，{number}号河流把清水从山上带到大海，镇上的人们都喝这里的水，船只清晨出发，傍晚归来。"
            for day in range(60)
        ]
        (folder / f"crawl/zh-{number}.txt").write_text("\n".join(chinese))
    (folder / "repositories/mine/pyproject.toml").write_text('[project]\nname = "mine"\n')
    (folder / "repositories/mine/paths.py").write_text(text)


def test_the_story(root: Path, blocks: Callable[[str], list[Any]], template: Path, tmp_path: Path) -> None:
    write_corpus(tmp_path)
    for name in ("chats", "train", "heldout", "lookalike"):
        shutil.copy(template / f"{name}.jsonl", tmp_path)
    texts = [block.text.replace("\\\n", " ") for block in blocks("docs/chat-model.md") if block.language == "bash"]
    found = [shlex.split(line)[1:] for text in texts for line in text.splitlines()]
    assert [words[0] for words in found[:5]] == ["process", "process", "process", "vocabulary", "process"]
    for words in found:
        if words[0] == "chat":
            continue  # it waits for someone to type
        program = [sys.executable, "-m", "internlm2_conf", *small(words)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(program, cwd=tmp_path, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{shlex.join(program[3:])}\n{done.stderr[-2000:]}"
    assert re.search(r'"accuracy"', (tmp_path / "runs/evaluate-chat/metrics.json").read_text())
    assert (tmp_path / "runs/chat/config.json").is_file()
