"""core's LM under parallel's layouts: the two packages meet by names alone."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from internlm2_core import LM
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.optim import Constant
from internlm2_core.sizes import ModelSize
from internlm2_parallel import MeshStrategy
from internlm2_parallel.pipeline import whole_state
from internlm2_parallel.testing import LAYOUTS, RankError, TinyBatches, quiet_trainer, run_ranks

SIZE = ModelSize(layers=4, dim=32, num_kv_heads=4, q_per_kv=2, ffn_dim=64, vocab_size=96, head_dim=8, max_positions=32)
RECOMPUTE = {"all": "none", "matmuls": "selective", "nothing": "full"}
NAMES = [
    "ddp",
    "zero1",
    "fsdp",
    "fsdp recompute",
    "hsdp",
    "tensor",
    "tensor_sequence",
    "fsdp x tensor_sequence",
    "context gather",
    "context ulysses",
    "context ring",
    "context x tensor_sequence",
    "pipeline 1f1b",
    "pipeline interleaved",
    "pipeline x tensor_sequence",
    "pipeline x context",
]


def make_net(max_logits: int) -> LanguageModel:
    net = LanguageModel(SIZE, max_logits=max_logits)
    # gradients well above AdamW's epsilon: noise in the last bit is not amplified
    net.init_weights(torch.Generator().manual_seed(0), std=0.16)
    return net


class RecordedLM(LM):
    def __init__(self, max_logits: int, **changes) -> None:
        optimizer = partial(torch.optim.AdamW, lr=3e-3, fused=True)
        super().__init__(partial(make_net, max_logits), optimizer, Constant(), max_grad_norm=0.5, **changes)
        self.record: list[float] = []
        self.norms: list[float] = []

    def train_dataloader(self) -> TinyBatches:
        share = getattr(self.trainer.strategy, "distributed_sampler_kwargs", {"rank": 0, "num_replicas": 1})
        return TinyBatches(share["rank"], share["num_replicas"], steps=5)

    def clip_by_norm(self, optimizer):
        before = self.first_gradient()
        norm = super().clip_by_norm(optimizer)
        self.norms.append(float(self.max_grad_norm * before / self.first_gradient()))
        assert float(norm) == pytest.approx(self.norms[-1], abs=1e-4)
        return norm

    def first_gradient(self) -> torch.Tensor:
        """Largest entry of a gradient: clipping scales it by max_norm / norm."""
        gradient = next(w.grad for w in self.net.parameters() if w.grad is not None)
        whole = gradient.full_tensor() if hasattr(gradient, "full_tensor") else gradient
        return whole.abs().max()

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        self.record.append(float(loss))
        return loss


def train(strategy, devices: int, max_logits: int, **changes):
    module = RecordedLM(max_logits, **changes)
    quiet_trainer(strategy, devices).fit(module)
    ranks = getattr(module.trainer.strategy, "ranks", None)
    weights = whole_state(module.net, ranks.pipeline) if ranks else module.net.state_dict()
    return module.record, module.norms, {name: w.clone() for name, w in weights.items()}


@pytest.fixture(scope="module")
def reference():
    torch.set_num_threads(1)
    return train("auto", 1, 2**27)


def largest(first, second) -> float:
    return max(abs(a - b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_losses_norms_and_weights_equal_one_process(name, reference):
    case = LAYOUTS[name]
    # Few logits at once: the chunked loss, recomputed in the backward pass, is split over the vocabulary too.
    max_logits = 96 * 48

    def rank():
        strategy = MeshStrategy(case.layout, case.treatment, shape=SIZE, tokens=32)
        return train(strategy, case.ranks, max_logits, recompute=RECOMPUTE[case.keeps])

    results = run_ranks(rank, case.ranks, join=False)
    for losses, norms, _ in results:
        assert len(losses) == 5
        assert largest(losses, reference[0]) < 1e-5
        assert largest(norms, reference[1]) < 1e-4  # read off fp32 quotients
    weights = results[0][2]
    assert sorted(weights) == sorted(reference[2])
    for tensor_name, tensor in reference[2].items():
        torch.testing.assert_close(weights[tensor_name], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["ddp", "zero1", "fsdp", "hsdp x context", "fsdp x tensor_sequence"])
def test_weights_gathered_in_bf16(name, reference):
    """As `internlm2 plan` writes it. bf16 keeps 8 bits of a loss of about 5."""
    case = LAYOUTS[name]

    def rank():
        strategy = MeshStrategy(case.layout, replace(case.treatment, param_dtype="bfloat16"), shape=SIZE, tokens=32)
        return train(strategy, case.ranks, 2**27)

    for losses, _, _ in run_ranks(rank, case.ranks, join=False):
        assert 1e-5 < largest(losses, reference[0]) < 0.03


@pytest.mark.parametrize("name", ["fsdp", "tensor_sequence"])
def test_micro_batches_and_z_loss_change_nothing(name):
    case = LAYOUTS[name]
    plain = train("auto", 1, 2**27, z_loss=1e-3)

    def rank():
        strategy = MeshStrategy(case.layout, case.treatment)
        return train(strategy, case.ranks, 2**27, z_loss=1e-3, micro_batch_rows=2)

    for losses, norms, _ in run_ranks(rank, case.ranks, join=False):
        assert largest(losses, plain[0]) < 1e-5
        assert largest(norms, plain[1]) < 1e-4


def test_a_pipeline_refuses_the_z_loss():
    case = LAYOUTS["pipeline 1f1b"]

    def rank():
        train(MeshStrategy(case.layout, case.treatment), case.ranks, 2**27, z_loss=1e-3)

    with pytest.raises(RankError, match=r"pipeline=2 carries .* z-loss"):
        run_ranks(rank, case.ranks, join=False, deadline_s=90)
