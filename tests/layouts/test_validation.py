"""Loss on held-out batches under layouts: that of one process, also where a rank has none of the tokens with loss."""

from functools import partial

import pytest
import torch
from internlm2_core import LM
from internlm2_core.optim import Constant
from internlm2_parallel import MeshStrategy
from internlm2_parallel.testing import LAYOUTS, quiet_trainer, run_ranks
from torch.utils.data import DataLoader


def rows(count: int, seed: int) -> dict[str, torch.Tensor]:
    ids = torch.randint(0, 288, (count, 32), generator=torch.Generator().manual_seed(seed))
    labels = ids.roll(-1, 1)
    labels[: count // 2, 5:] = -100
    return {"input_ids": ids, "labels": labels, "position_ids": torch.arange(32).expand(count, 32).contiguous()}


class MeasuredLM(LM):
    def loaders(self, make):
        share = getattr(self.trainer.strategy, "distributed_sampler_kwargs", None) or {"rank": 0, "num_replicas": 1}
        mine = slice(share["rank"], None, share["num_replicas"])
        return DataLoader([{name: value[mine] for name, value in batch.items()} for batch in make], batch_size=None)

    def train_dataloader(self):
        return self.loaders([rows(4, seed) for seed in range(2)])

    def val_dataloader(self):
        last = rows(4, 8)
        last["labels"][1::2] = -100  # the second of two ranks reads nothing but padding
        return self.loaders([rows(4, 7), last])


def measure(strategy, devices, make_model):
    torch.set_num_threads(1)
    module = MeasuredLM(make_model, partial(torch.optim.AdamW, lr=3e-3), Constant(), micro_batch_rows=2)
    trainer = quiet_trainer(strategy, devices)
    trainer.fit(module)
    return float(trainer.callback_metrics["valid/loss"])


@pytest.mark.parametrize("name", ["ddp", "fsdp", "tensor", "context ulysses"])
def test_the_loss_is_that_of_one_process(name, make_model):
    case = LAYOUTS[name]
    alone = measure("auto", 1, make_model)

    def rank():
        return measure(MeshStrategy(case.layout, case.treatment), case.ranks, make_model)

    assert run_ranks(rank, case.ranks, join=False, deadline_s=90) == pytest.approx([alone] * case.ranks, abs=1e-4)
