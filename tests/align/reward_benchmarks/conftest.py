"""Small reward models, and benchmark files in their published layouts."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
from internlm2_align import Conditions, ConversationEncoder, RewardModel
from internlm2_align.reward.network import from_language_model
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text.tokenizer import load_tokenizer

TABLE = Conditions({name: {"en": name.upper(), "zh": name} for name in ("helpful", "harmless", "maths", "code")})


@pytest.fixture
def reward_folder(tmp_path, tokenizer_file, size):
    """A random reward model with conditions, as a folder."""
    tokenizer = load_tokenizer(tokenizer_file)
    net = LanguageModel(replace(size, vocab_size=tokenizer.vocab_size))
    net.init_weights(torch.Generator().manual_seed(0), std=0.1)
    make = partial(from_language_model, net, torch.Generator().manual_seed(0))
    model = RewardModel(make, ConversationEncoder(tokenizer, TABLE, 400), optimizer=partial(torch.optim.AdamW, lr=1e-3))
    model.configure_model()
    model.save(tmp_path / "reward", tokenizer_file)
    return tmp_path / "reward"


@pytest.fixture
def write():
    """Writes JSON lines, or a JSON list where the name says so."""

    def written(path, *records):
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = "".join(json.dumps(record) + "\n" for record in records)
        path.write_text(json.dumps(records) if path.suffix == ".json" else lines)
        return path

    return written
