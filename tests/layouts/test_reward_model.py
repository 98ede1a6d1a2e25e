"""align's RewardModel under the layouts that it supports: data and tensor ranks."""

from collections import Counter
from functools import partial

import pytest
import torch
from internlm2_align import RewardModel
from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.pairs import PairBatches, encode_pairs
from internlm2_core.text.tokenizer import ByteTokenizer
from internlm2_parallel import MeshStrategy
from internlm2_parallel.clipping import global_norm
from internlm2_parallel.testing import LAYOUTS, quiet_trainer, run_ranks

TOKENIZER = ByteTokenizer()


class Batches:
    """Lightning would take a plain list for several loaders."""

    def __init__(self, batches) -> None:
        self.batches = tuple(batches)

    def __iter__(self):
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)


class RecordedRewardModel(RewardModel):
    def __init__(self, make_model) -> None:
        encoder = ConversationEncoder(TOKENIZER, Conditions({"helpful": {"en": "H"}, "harmless": {"en": "S"}}), 200)
        super().__init__(
            lambda: from_language_model(make_model(), torch.Generator().manual_seed(1)),
            encoder,
            optimizer=partial(torch.optim.AdamW, lr=1e-3),
            max_grad_norm=0.5,
        )
        self.record: list[float] = []
        self.norms: list[float] = []

    def train_dataloader(self):
        share = getattr(self.trainer.strategy, "distributed_sampler_kwargs", {"rank": 0, "num_replicas": 1})
        pairs = [
            Preference(domain, ({"role": "user", "content": f"question {index}"},), "yes" * index, "no" * (9 - index))
            for index in range(1, 9)
            for domain in ("helpful", "harmless")
        ]
        encoded = encode_pairs(pairs, self.encoder, Counter())
        loader = PairBatches(10_000, seed=1).loader(encoded)
        steps = [[(8 * step + pair) % len(encoded) for pair in range(8)] for step in range(5)]
        return Batches(loader._batch(step[share["rank"] :: share["num_replicas"]]) for step in steps)

    def clip_by_norm(self, optimizer):
        self.norms.append(float(global_norm(self.net.parameters())))
        norm = super().clip_by_norm(optimizer)
        assert float(norm) == pytest.approx(self.norms[-1])
        return norm

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.record.append(float(self.trainer.strategy.reduce(loss, reduce_op="mean")))
        return loss


def train(make_model, strategy, devices: int):
    module = RecordedRewardModel(make_model)
    quiet_trainer(strategy, devices).fit(module)
    return module.record, module.norms


@pytest.mark.parametrize("name", ["ddp", "zero1", "fsdp", "hsdp", "tensor", "tensor_sequence"])
def test_losses_and_norms_equal_one_process(name, make_model):
    torch.set_num_threads(1)
    reference = train(make_model, "auto", 1)
    assert len(reference[0]) == 5
    case = LAYOUTS[name]
    records = run_ranks(
        lambda: train(make_model, MeshStrategy(case.layout, case.treatment), case.ranks), case.ranks, join=False
    )
    for record in records:
        for values, expected in zip(record, reference, strict=True):
            assert max(abs(a - b) for a, b in zip(values, expected, strict=True)) < 1e-5
