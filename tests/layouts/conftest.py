from collections.abc import Callable

import pytest
import torch
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.sizes import ModelSize

SIZE = ModelSize(
    layers=2, dim=32, num_kv_heads=2, q_per_kv=2, ffn_dim=64, vocab_size=288, head_dim=8, max_positions=512
)


def seeded_model() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0), std=0.16)
    return net


@pytest.fixture(scope="session")
def make_model() -> Callable[[], LanguageModel]:
    """Makes the same small model each time; forked ranks call it."""
    return seeded_model
