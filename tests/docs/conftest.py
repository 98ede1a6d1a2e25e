"""Pages, their blocks, and a folder that holds small files under the names that the pages use."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
import zstandard

ROOT = Path(__file__).parents[2]
PATTERNS = ("*.md", "docs/**/*.md", "packages/*/README.md", "packages/*/docs/*.md", "conf/*.md")
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w+)(?P<info>[^\n]*)\n(?P<text>.*?)^(?P=indent)```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block. ``not_run`` is the reason after ``not run:`` in the fence."""

    language: str
    text: str
    not_run: str


def page_names() -> list[str]:
    return sorted({str(file.relative_to(ROOT)) for pattern in PATTERNS for file in ROOT.glob(pattern)})


def page_blocks(page: str) -> list[Block]:
    found = FENCE.finditer((ROOT / page).read_text(encoding="utf-8"))
    return [Block(m["language"], m["text"], m["info"].partition("not run:")[2].strip()) for m in found]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``page``: every page. ``python_page``: every page with Python blocks."""
    if "page" in metafunc.fixturenames:
        metafunc.parametrize("page", page_names())
    if "python_page" in metafunc.fixturenames:
        pages = [page for page in page_names() if any(b.language == "python" for b in page_blocks(page))]
        metafunc.parametrize("python_page", pages)


@pytest.fixture(scope="session")
def blocks() -> Callable[[str], list[Block]]:
    return page_blocks


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


def instruction(number: int, task: str, language: str) -> dict[str, object]:
    question = f"{number} + 1 = ?" if language == "en" else f"{number}加1等于几？"
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": str(number + 1)}]
    check = {"kind": "number", "value": number + 1}
    if task == "refusing":
        check = {"kind": "refusal", "accept": ["cannot tell", "不能"], "reject": [str(number)]}
        messages[1]["content"] = "I cannot tell." if language == "en" else "我不能说。"
    answer = str(number if task == "refusing" else number + 1)
    return {
        "id": f"{task}-{language}-{number}", "task": task, "language": language, "messages": messages,
        "answer": answer, "check": check,
    }  # fmt: skip


def preference(number: int, domain: str) -> dict[str, object]:
    return {"domain": domain, "prompt": f"{number}+1=?", "chosen": str(number + 1), "rejected": str(number)}


def write(file: Path, records: list[dict[str, object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(b"".join(orjson.dumps(record) + b"\n" for record in records))


def instructions(first: int, count: int) -> list[dict[str, object]]:
    kinds = [(task, language) for task in ("arithmetic", "refusing") for language in ("en", "zh")]
    return [instruction(number, *kinds[number % 4]) for number in range(first, first + count)]


def write_records(folder: Path) -> None:
    for name, first, count in (("train", 0, 24), ("heldout", 100, 8), ("lookalike", 200, 8)):
        write(folder / f"{name}.jsonl", instructions(first, count))
    for name, first in (("chats", 0), ("heldout_en", 100), ("heldout_zh", 200), ("conversations", 0)):
        write(folder / f"{name}.jsonl", [{"messages": i["messages"]} for i in instructions(first, 12)])
    (folder / "chats.jsonl.zst").write_bytes(zstandard.compress((folder / "chats.jsonl").read_bytes()))
    domains = ("maths", "helpful", "harmless")
    for name, first in (("train", 0), ("heldout", 100)):
        write(folder / f"runs/label/{name}.jsonl", [preference(n, domains[n % 3]) for n in range(first, first + 12)])


def write_tokens(folder: Path) -> None:
    from internlm2_data.tokens import TokenWriter

    random = np.random.default_rng(1)
    for part, cells in {
        "train": ("en-webpages", "zh-webpages"),
        "heldout": ("zh-webpages",),
        "long": ("en-books",),
    }.items():
        for cell in cells:
            (folder / part).mkdir(parents=True, exist_ok=True)
            with TokenWriter(folder / part / cell, 288) as out:
                for _ in range(20):
                    out.add(random.integers(0, 250, 300).tolist())


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, tokenizer_file: Path) -> Path:
    """Everything that the pages name, tiny: models, token files, records."""
    from internlm2_align.reward.conditions import load_conditions
    from internlm2_align.reward.network import start_reward
    from internlm2_core import LanguageModel, ModelSize
    from internlm2_core.checkpoint import save_released
    from internlm2_core.text import load_tokenizer

    folder = tmp_path_factory.mktemp("template")
    size = ModelSize(
        layers=1, dim=32, num_kv_heads=1, q_per_kv=2, ffn_dim=48, head_dim=16, max_positions=4096,
        vocab_size=load_tokenizer(tokenizer_file).vocab_size,
    )  # fmt: skip
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(0))
    save_released(folder / "model", size, net.state_dict().items(), tokenizer_file)
    for name in ("internlm2-1_8b", "runs/sft/model", "runs/pretrain/model", "runs/reproduce/chat"):
        shutil.copytree(folder / "model", folder / name)
    from internlm2_align import RewardModel
    from internlm2_align.reward.encoding import ConversationEncoder

    encoder = ConversationEncoder(load_tokenizer(folder / "model"), load_conditions(), max_tokens=4096)
    reward = RewardModel(lambda: start_reward(folder / "model"), encoder)
    reward.configure_model()
    reward.save(folder / "runs/reward/model", folder / "model")
    shutil.copy(tokenizer_file, folder / "tokenizer.json")
    write_records(folder)
    write_tokens(folder / "runs/tokens")
    shutil.copytree(folder / "runs/tokens", folder / "tokens")
    return folder


@pytest.fixture
def world(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the template, as current folder."""
    folder = tmp_path / "world"
    shutil.copytree(template, folder)
    monkeypatch.chdir(folder)
    return folder
