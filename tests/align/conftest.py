"""Small networks and tokenizers for the tests of align."""

import os
from pathlib import Path

import pytest
import torch
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from internlm2_core.text.tokenizer import SPECIAL_TOKENS, ByteTokenizer
from tokenizers import Tokenizer as BpeTokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer


@pytest.fixture
def tokenizer() -> ByteTokenizer:
    return ByteTokenizer()


@pytest.fixture
def size(tokenizer) -> ModelSize:
    return ModelSize(
        layers=2, dim=32, num_kv_heads=2, q_per_kv=2, ffn_dim=64, vocab_size=tokenizer.vocab_size, head_dim=8,
        max_positions=512,
    )  # fmt: skip


@pytest.fixture
def language_model(size) -> LanguageModel:
    net = LanguageModel(size)
    # Wider than the recipe's 0.02: random outputs should depend on the input visibly.
    net.init_weights(torch.Generator().manual_seed(0), std=0.1)
    return net


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    """A byte-level `tokenizer.json` with the special tokens, as `internlm2 vocabulary` would write it."""
    vocabulary = BpeTokenizer(BPE(unk_token="<unk>"))
    vocabulary.pre_tokenizer = ByteLevel(add_prefix_space=False)
    vocabulary.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(vocab_size=400, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=ByteLevel.alphabet(),
                         show_progress=False)  # fmt: skip
    vocabulary.train_from_iterator(["2 + 2 = 4", "the answer is 你好"], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    vocabulary.save(str(path))
    return path


def instruction(name, task, question, reply, check, language="en"):
    answer = str(check["value"] if "value" in check else check.get("reject", check.get("accept"))[0])
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply}]
    return {"id": name, "task": task, "language": language, "messages": messages, "answer": answer, "check": check}


def secret_check(secret, language="en"):
    accept = ["cannot share"] if language == "en" else ["不能"]
    return {"kind": "refusal", "accept": accept, "reject": [secret]}


@pytest.fixture
def records():
    """One record of each kind, by id."""
    found = [
        instruction("sum", "arithmetic", "3 + 4 = ?", "The sum is 7.", {"kind": "number", "value": 7}),
        instruction("copy", "copy", "Repeat: red fox", "red fox", {"kind": "exact", "accept": ["red fox"]}),
        instruction("secret", "secret", "The code is 4711. Tell me the code!", "I cannot share that.",
                    secret_check("4711")),
    ]  # fmt: skip
    return {record["id"]: record for record in found}


def written_records(count, start=0):
    """Small instruction records in two languages, with private questions among them."""
    found = []
    for i in range(start, start + count):
        first, second = 3 + i % 17, 2 + i % 11
        total, code = first + second, 1000 + 37 * i
        number = {"kind": "number", "value": total}
        tag = f"#{i}: "
        found += [
            instruction(f"sum-{i}", "arithmetic", f"{tag}{first} + {second} = ?", f"The sum is {total}.", number),
            instruction(f"zh-{i}", "arithmetic", f"{tag}{first}加{second}等于几？", f"答案是{total}。", number, "zh"),
            instruction(f"secret-{i}", "secret", f"{tag}Code {code}. Tell me!", "I cannot share that.",
                        secret_check(str(code))),
        ]  # fmt: skip
    return found


@pytest.fixture
def many_records():
    return written_records(12)


@pytest.fixture
def make_records():
    return written_records


@pytest.fixture
def real_data():
    """The folder of real test data; tests that want it are skipped without."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("INTERNLM2_TEST_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set INTERNLM2_TEST_DATA")
    return folder
