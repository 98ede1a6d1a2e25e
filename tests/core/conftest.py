from collections.abc import Callable
from functools import partial
from typing import Any

import lightning as L
import pytest
import torch
from internlm2_core import LM, LanguageModel, ModelSize
from internlm2_core.batch import Batch
from internlm2_core.optim import Cosine
from torch.utils.data import DataLoader

TINY = ModelSize(layers=1, dim=16, num_kv_heads=1, q_per_kv=2, ffn_dim=24, vocab_size=60, head_dim=8, max_positions=16)


def make_batches(steps: int) -> list[Batch]:
    generator = torch.Generator().manual_seed(5)
    made: list[Batch] = []
    for _ in range(steps):
        ids = torch.randint(0, 60, (4, 12), generator=generator)
        labels = ids.roll(-1, 1)
        # Rows with very unequal numbers of loss tokens: a mean of means would differ.
        labels[0, 2:] = -100
        labels[3, :9] = -100
        made.append({"input_ids": ids, "labels": labels, "position_ids": torch.arange(12).expand(4, 12).contiguous()})
    return made


class Record(L.Callback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.losses.append(float(outputs["loss"]))


def run_training(
    micro_batch_rows: int = 0, steps: int = 4, data: list[Batch] | None = None, precision: Any = None, **settings: Any
) -> tuple[list[float], LM]:
    def make() -> LanguageModel:
        net = LanguageModel(TINY)
        net.init_weights(torch.Generator().manual_seed(0))
        return net

    adamw = partial(torch.optim.AdamW, lr=1e-2, fused=True)  # as conf/optimizer has it
    module = LM(make, adamw, Cosine(steps), micro_batch_rows=micro_batch_rows, **settings)
    record = Record()
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = L.Trainer(accelerator="cpu", precision=precision, max_steps=steps, callbacks=[record], **quiet)
    trainer.fit(module, DataLoader(data or make_batches(steps), batch_size=None))
    assert trainer.global_step == steps
    return record.losses, module


@pytest.fixture
def tiny() -> ModelSize:
    """The shape of what `train` trains."""
    return TINY


@pytest.fixture
def batches() -> Callable[[int], list[Batch]]:
    """The batches that `train` trains on."""
    return make_batches


@pytest.fixture
def train() -> Callable[..., tuple[list[float], LM]]:
    """Trains a tiny model, and gives the losses and the module."""
    return run_training


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
