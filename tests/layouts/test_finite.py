"""A gradient that is not finite on one rank: all ranks leave the step out, as one process does."""

import math
from functools import partial

import pytest
import torch
from internlm2_core import LM
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.optim import Constant
from internlm2_core.sizes import ModelSize
from internlm2_core.training import NotFiniteError
from internlm2_parallel import MeshStrategy
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, TinyBatches, quiet_trainer, run_ranks

SIZE = ModelSize(layers=2, dim=32, num_kv_heads=2, q_per_kv=2, ffn_dim=64, vocab_size=96, head_dim=8, max_positions=32)


def make_net() -> LanguageModel:
    net = LanguageModel(SIZE)
    net.init_weights(torch.Generator().manual_seed(0), std=0.16)
    return net


class Poisoned(LM):
    """The gradient of some batches is infinite on the last rank, and their loss is finite."""

    def __init__(self, poisoned: tuple[int, ...], most_left_out: int = 10) -> None:
        # A large epsilon: noise in the last bit of a small gradient is not amplified.
        adamw = partial(torch.optim.AdamW, lr=3e-3, eps=1e-3)
        super().__init__(make_net, adamw, Constant(), most_left_out=most_left_out)
        self.poisoned, self.batch = poisoned, 0

    def train_dataloader(self) -> TinyBatches:
        share = getattr(self.trainer.strategy, "distributed_sampler_kwargs", {"rank": 0, "num_replicas": 1})
        return TinyBatches(share["rank"], share["num_replicas"], steps=6)

    def training_step(self, batch, batch_idx):
        self.batch = batch_idx
        return super().training_step(batch, batch_idx)

    def losses(self, batch):
        found = super().losses(batch)
        is_last = self.trainer.global_rank == self.trainer.world_size - 1
        if self.batch in self.poisoned and is_last:
            found.cross_entropy.register_hook(lambda gradient: gradient * math.inf)
        return found


def fit(strategy, devices: int, *poisoned: int, **settings):
    module = Poisoned(poisoned, **settings)
    trainer = quiet_trainer(strategy, devices, max_epochs=1)
    try:
        trainer.fit(module)
        said = ""
    except NotFiniteError as error:
        said = str(error)
    ranks = getattr(trainer.strategy, "ranks", None)
    weights = whole_state(module.net, ranks.pipeline) if ranks else module.net.state_dict()
    return module.left_out.total, trainer.global_step, said, {name: w.clone() for name, w in weights.items()}


@pytest.mark.parametrize("name", ["ddp", "zero1", "fsdp", "tensor"])
def test_all_ranks_leave_the_step_out(name):
    torch.set_num_threads(1)
    case = LAYOUTS[name]
    expected = fit("auto", 1, 2)
    assert expected[:3] == (1, 5, "")
    results = run_ranks(lambda: fit(MeshStrategy(case.layout, case.treatment), case.ranks, 2), case.ranks, join=False)
    assert [result[:3] for result in results] == [(1, 5, "")] * case.ranks
    for tensor_name, tensor in expected[3].items():
        torch.testing.assert_close(results[0][3][tensor_name], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_all_ranks_stop_together(name):
    case = LAYOUTS[name]

    def rank():
        return fit(MeshStrategy(case.layout, case.treatment), case.ranks, 3, 4, most_left_out=2)

    for total, step, said, weights in run_ranks(rank, case.ranks, join=False):
        assert (total, step) == (2, 3) and said.startswith("After step 3, 2 steps in a row were not finite")
        assert all(weight.isfinite().all() for weight in weights.values())
