from pathlib import Path

import pytest
import torch
from internlm2_core import LanguageModel, ModelSize
from internlm2_core.checkpoint import save_released
from internlm2_core.text.tokenizer import load_tokenizer


@pytest.fixture
def with_sft_model(tmp_path: Path, tokenizer_file: Path) -> Path:
    """A folder that holds a tiny model of random weights, ``sft``."""
    size = ModelSize(
        layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, head_dim=8, max_positions=512,
        vocab_size=load_tokenizer(tokenizer_file).vocab_size,
    )  # fmt: skip
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(0))
    save_released(tmp_path / "sft", size, net.state_dict().items(), tokenizer_file)
    return tmp_path
