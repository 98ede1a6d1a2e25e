from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def with_sft_model(tmp_path: Path, save_random_model: Callable[..., Path]) -> Path:
    """A folder that holds a tiny model of random weights, ``sft``."""
    sizes = {"layers": 1, "dim": 16, "num_kv_heads": 1, "q_per_kv": 2, "ffn_dim": 24, "head_dim": 8}
    save_random_model(tmp_path / "sft", max_positions=512, **sizes)
    return tmp_path
