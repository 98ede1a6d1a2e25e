from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize
from internlm2_core.text.tokenizer import SPECIAL_TOKENS
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

SIZE = ModelSize(
    layers=2, dim=32, num_kv_heads=2, q_per_kv=2, ffn_dim=64, vocab_size=288, head_dim=8, max_positions=512
)


def seeded_model() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0), std=0.16)
    return net


@pytest.fixture
def make_model() -> Callable[[], LanguageModel]:
    """Makes the same small model each time; forked ranks call it."""
    return seeded_model


@pytest.fixture
def tokenizer_file(tmp_path: Path) -> Path:
    """A ``tokenizer.json`` of single bytes and the special tokens."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={char: index for index, char in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path / "tokenizer.json"
