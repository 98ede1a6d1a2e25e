"""The commands of "From raw pages to a chat model", in order and as they are on the page, with next to no data."""

import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.command import internlm2

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
    more += ["pipeline.heldout=0.3"] if "pipeline=tokens" in words else []
    groups = {word.partition("=")[0] for word in more}
    kept = [word for word in words if word.partition("=")[0] not in groups]
    return [word.replace("model=1.8b", "model=tiny") for word in kept] + more


CHINESE = (
    "我们 他们 老师 学生 城市 乡村 河流 高山 春天 秋天 今天 昨天 早晨 晚上 走路 读书 写字 唱歌 看见 听说 知道 觉得 非常 已经 "
    "因为 所以 但是 如果 美丽 安静 古老 年轻 学校 医院 商店 火车 飞机 电脑 手机 朋友 父母 孩子 喜欢 帮助 工作 学习 生活 历史 "
    "文化 科学 技术 经济 社会 自然 环境 动物 植物 天气 下雨 阳光 道路 房子 窗户 桌子 音乐 电影 故事 新闻 问题 方法 时间 地方"
)


def write_corpus(folder: Path) -> None:
    """Pages that the filters keep, English ones from Python's own documentation, and a repository."""
    from pydoc_data.topics import topics

    random = Random(1)
    (folder / "crawl").mkdir()
    (folder / "repositories/mine").mkdir(parents=True)
    english = sorted((text for text in topics.values() if 2000 < len(text) < 20000), key=len)[:12]
    for number, text in enumerate(english):
        (folder / f"crawl/{number}.txt").write_text(text)
        chinese = ["，".join("".join(random.choices(CHINESE.split(), k=6)) for _ in range(3)) + "。" for _ in range(40)]
        (folder / f"crawl/zh-{number}.txt").write_text("\n".join(chinese))
    (folder / "repositories/mine/pyproject.toml").write_text('[project]\nname = "mine"\n')
    (folder / "repositories/mine/paths.py").write_text(Path(os.__file__).read_text())


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
        done = internlm2(*small(words), folder=tmp_path)
        assert done.returncode == 0, f"{shlex.join(small(words))}\n{done.stderr[-2000:]}"
    assert re.search(r'"accuracy"', (tmp_path / "runs/evaluate-chat/metrics.json").read_text())
    assert (tmp_path / "runs/chat/config.json").is_file()
