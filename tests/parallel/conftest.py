import pytest
import torch
from internlm2_parallel.testing import Record, train


@pytest.fixture(scope="session")
def reference() -> Record:
    """Losses and gradient norms of the tiny module in one process."""
    torch.set_num_threads(1)
    return train("auto", 1)
