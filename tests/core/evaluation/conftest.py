import json
import random
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch
from internlm2_core import LanguageModel
from internlm2_core.checkpoint import save_released
from internlm2_core.evaluation import Haystack, Subject
from internlm2_core.generation import Completion, Engine, LocalEngine, Sampling
from internlm2_core.text import ByteTokenizer
from internlm2_core.text.tokenizer import SPECIAL_TOKENS
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


class Scripted:
    """An engine that answers from a function of the prompt's text."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.prompts, self.tokenizer = answer, [], ByteTokenizer()

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        assert sampling.is_greedy
        self.prompts += [list(prompt) for prompt in prompts]
        texts = [self.answer(self.tokenizer.decode(prompt)) for prompt in prompts]
        end = sampling.stop_ids[-1]
        return [
            Completion([*self.tokenizer.encode(text), end][: sampling.max_new_tokens], [], "stop") for text in texts
        ]


@pytest.fixture
def subject(net: LanguageModel) -> Subject:
    return Subject(net.eval(), ByteTokenizer(), LocalEngine(net), batch_tokens=64)


@pytest.fixture
def scripted(net: LanguageModel):
    def make(answer: Any) -> Subject:
        engine: Engine = Scripted(answer)
        return Subject(net, ByteTokenizer(), engine)

    return make


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    rng = random.Random(0)
    file = tmp_path / "documents.jsonl"
    rows = []
    for _ in range(20):
        english = ". ".join(" ".join(rng.choices(["alpha", "beta", "gamma", "delta"], k=5)) for _ in range(6))
        chinese = "。".join("".join(rng.choices("天地人山水火木金土", k=18)) for _ in range(6))
        rows += [{"text": english + ".", "language": "en"}, {"text": chinese + "。", "language": "zh"}]
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return file


@pytest.fixture
def haystacks(documents: Path) -> dict[str, Haystack]:
    english = Haystack(
        str(documents), "The {noun} of {name} is {value}.", "The {noun} of {name} is", ["code"], ["Ann", "Ben", "Eva"],
        language="en",
    )  # fmt: skip
    chinese = Haystack(
        str(documents), "{name}的{noun}是{value}。", "{name}的{noun}是", ["号码"], ["小明", "小红", "小刚"],
        separator="", language="zh",
    )  # fmt: skip
    return {"en": english, "zh": chinese}


@pytest.fixture
def checkpoint(tmp_path: Path, net: LanguageModel) -> str:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [], trainers.BpeTrainer(special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet)
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    save_released(tmp_path / "model", net.size, net.state_dict().items(), tmp_path / "tokenizer.json")
    return str(tmp_path / "model")


def ignore(done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
def progress():
    return ignore


torch.set_num_threads(1)


@pytest.fixture(scope="session")
def fits_schema():
    """Checks the figures of a task against ``schema.json``."""
    schema = json.loads((files("internlm2_core") / "evaluation/schema.json").read_text())

    def check(task: Any, figures: Mapping[str, Any]) -> None:
        model = {"checkpoint": "x", "parameters": 1, "max_positions": 1, "rope_base": 1.0}
        about = {"kind": task.kind, "version": task.version, "seconds": 0.0}
        written = json.loads(
            json.dumps({"schema": "internlm2/metrics/1", "model": model, "tasks": {"it": about | figures}})
        )
        jsonschema.validate(written, schema)

    return check
