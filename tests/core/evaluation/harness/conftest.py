"""A tiny Llama of Transformers with a tokenizer trained on a few sentences, in a folder that both sides read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="needs internlm2-core[exams]")

WORDS = """The river runs to the sea and the sea gives rain. Two and three make five, five and five make ten.
What is the colour of grass? Green. def add(a, b): return a + b. 河水流向大海，大海带来雨水。二加三等于五。
Question: a red hen lays four eggs a day. How many in a week? Answer: four times seven is 28. #### 28"""


def write_tokenizer(folder: Path) -> None:
    from internlm2_core.text.template import CHAT_TEMPLATE
    from internlm2_core.text.tokenizer import SPECIAL_TOKENS
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = [AddedToken(name, special=True, normalized=False) for name in SPECIAL_TOKENS]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=tokens, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([WORDS], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>",
        "pad_token": "</s>", "add_bos_token": False, "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    made = tmp_path_factory.mktemp("harness") / "model"
    made.mkdir()
    write_tokenizer(made)
    torch.manual_seed(3)
    size = json.loads((made / "tokenizer.json").read_text())["model"]["vocab"]
    config = LlamaConfig(
        hidden_size=48, intermediate_size=96, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=2,
        head_dim=8, vocab_size=len(size), max_position_embeddings=1024, bos_token_id=1, eos_token_id=[2, 7],
        pad_token_id=2, tie_word_embeddings=False, rope_theta=10_000.0,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight *= 8  # far from uniform, so that rounding decides nothing
    model.save_pretrained(made)
    return made


@pytest.fixture
def peer(folder: Path) -> Any:
    """lm-eval's own model for Transformers."""
    pytest.importorskip("accelerate")
    from lm_eval.models.huggingface import HFLM

    return HFLM(str(folder), device="cpu", dtype="float32", batch_size=3, max_length=160, prefix_token_id=1)


@pytest.fixture
def ours(folder: Path) -> Callable[..., Any]:
    """Our model of the same folder, given the settings of `HarnessModel`."""
    from internlm2_core.checkpoint.any_layout import load_model
    from internlm2_core.evaluation import Subject
    from internlm2_core.evaluation.harness.model import HarnessModel
    from internlm2_core.generation import LocalEngine
    from internlm2_core.text import load_tokenizer

    def make(max_length: int = 160, **settings: Any) -> HarnessModel:
        net, tokenizer = load_model(folder).eval(), load_tokenizer(folder)
        return HarnessModel(Subject(net, tokenizer, LocalEngine(net, decode=tokenizer.decode)), max_length, **settings)

    return make


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def sum_of(number: int) -> dict[str, Any]:
    solved = f"{number} and {number} make {2 * number}.\n#### {2 * number}"
    return {"question": f"A hen lays {number} eggs, and {number} more. How many?", "answer": solved}


def choice_of(number: int, split: str) -> list[dict[str, Any]]:
    """A question in rows of one answer each."""
    about = {"split": split, "eval_instance_index": number, "question": f"What is {number} and two?"}
    return [about | {"answer": str(number + more), "is_correct": more == 2} for more in range(4)]


@pytest.fixture(scope="session")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exams of our own in the files of a lab."""
    data = tmp_path_factory.mktemp("exams")
    # Of the published order, abstract algebra comes first: 100 questions, 5 shots. Then anatomy.
    write_rows(data / "mmlu/mmlu_dev-1.jsonl", [row for n in range(10) for row in choice_of(n, "dev")])
    write_rows(data / "mmlu/mmlu_test-1.jsonl", [row for n in range(94, 106) for row in choice_of(n, "test")])
    for split, start in (("train", 0), ("test", 20)):
        write_rows(data / f"gsm8k/{split}.jsonl", [sum_of(n) for n in range(start, start + 8)])
    program = {"prompt": "def double(n):\n", "entry_point": "double", "canonical_solution": "    return 2 * n\n"}
    tests = "def check(candidate):\n    assert candidate(4) == 8\n"
    write_rows(data / "HumanEval.jsonl", [program | {"task_id": f"HumanEval/{n}", "test": tests} for n in range(2)])
    ask = {"text": "Write a function to add.", "code": "def add(a, b):\n    return a + b", "test_setup_code": ""}
    checks = {"test_list": ["assert add(1, 2) == 3"] * 3, "challenge_test_list": []}
    write_rows(data / "mbpp.jsonl", [ask | checks | {"task_id": n} for n in range(1, 14)])
    (data / "wikitext-2.test.txt").write_text(
        " = One = \n The river runs . \n = = A = = \n Rain . \n = Two = \n Sea . \n"
    )
    return data
