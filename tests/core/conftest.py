import pytest
import torch
from internlm2_core import LanguageModel, ModelSize


@pytest.fixture
def size() -> ModelSize:
    return ModelSize(
        layers=2, dim=48, num_kv_heads=2, q_per_kv=3, ffn_dim=64, vocab_size=300, head_dim=8, max_positions=64
    )


@pytest.fixture
def net(size: ModelSize) -> LanguageModel:
    net = LanguageModel(size)
    net.init_weights(torch.Generator().manual_seed(0))
    # Larger than the recipe's initialisation, so that attention is far from uniform.
    with torch.no_grad():
        for weight in net.parameters():
            if weight.ndim > 1:
                weight *= 5
    return net


@pytest.fixture
def packed() -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and positions of two rows of 16 tokens: documents of 5, 9, 2 and of 1, 15."""
    positions = [[*range(5), *range(9), *range(2)], [0, *range(15)]]
    ids = torch.randint(0, 300, (2, 16), generator=torch.Generator().manual_seed(1))
    return ids, torch.tensor(positions)
