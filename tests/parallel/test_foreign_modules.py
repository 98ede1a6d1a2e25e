"""Modules in other habits than ours train under a layout as in one process, or are refused in a sentence."""

from collections.abc import Callable
from functools import partial

import lightning as L
import pytest
import torch
from internlm2_parallel import Layout, MeshStrategy, Treatment
from internlm2_parallel.plan import llama_plan
from internlm2_parallel.testing import LAYOUTS, TinyLlama, TinyLM, quiet_trainer, run_ranks
from torch import Tensor
from torch.distributed.tensor.parallel import RowwiseParallel

Settings = dict[str, object]


class Losses(L.Callback):
    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, outputs: dict[str, Tensor], *_) -> None:
        self.found.append(float(trainer.strategy.reduce(outputs["loss"], reduce_op="mean")))


class Automatic(TinyLM):
    """Lightning zeroes the gradients after the forward pass, accumulates, clips and steps."""

    def __init__(self, net: Callable[[], TinyLlama] = TinyLlama) -> None:
        super().__init__(net)
        self.automatic_optimization = True

    def mean_loss(self, batch: dict[str, Tensor]) -> Tensor:
        tokens = self.trainer.strategy.reduce((batch["labels"] != -100).sum().float(), reduce_op="mean")
        return self.net(batch["input_ids"], batch["position_ids"], batch["labels"]) / tokens

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.mean_loss(batch)


class ZeroesLate(Automatic):
    """By hand, in the order of most loops: forward, zero_grad, backward, step."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> dict[str, Tensor]:
        loss, optimizer = self.mean_loss(batch), self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        optimizer.step()
        return {"loss": loss.detach()}


def frozen_norms() -> TinyLlama:
    net = TinyLlama()
    for name, weight in net.named_parameters():
        weight.requires_grad = "norm" not in name
    return net


class Tied(TinyLlama):
    """A head that is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.output.weight = self.model.tok_embeddings.weight


def fit(make: Callable[[], TinyLM], strategy: object, devices: int, settings: Settings) -> list[float]:
    """Mean losses by batch."""
    losses, module = Losses(), make()
    quiet_trainer(strategy, devices, callbacks=[losses], **settings).fit(module)
    return losses.found


CASES: dict[str, tuple[Callable[[], TinyLM], Settings]] = {
    "automatic": (Automatic, {}),
    "automatic, accumulated, clipped": (Automatic, {"accumulate_grad_batches": 3}),
    "zero_grad after the forward pass": (ZeroesLate, {}),
    "frozen norms": (partial(Automatic, frozen_norms), {}),
    "tied": (partial(Automatic, Tied), {}),
}
ROWS = [
    *((case, layout) for case in list(CASES)[:3] for layout in ("pipeline 1f1b", "pipeline x fsdp")),
    ("automatic, accumulated, clipped", "fsdp"),
    *(("frozen norms", layout) for layout in ("fsdp", "tensor_sequence", "pipeline x tensor_sequence")),
    *(("tied", layout) for layout in ("context gather", "tensor", "fsdp x tensor_sequence")),
]


@pytest.mark.parametrize(("case", "layout"), ROWS, ids=[f"{case} under {layout}" for case, layout in ROWS])
def test_as_in_one_process(case: str, layout: str) -> None:
    torch.set_num_threads(1)
    (make, settings), under = CASES[case], LAYOUTS[layout]
    alone = fit(make, "auto", 1, settings)

    def rank() -> list[float]:
        return fit(make, MeshStrategy(under.layout, under.treatment), under.ranks, settings)

    for losses in run_ranks(rank, under.ranks, join=False):
        assert len(losses) == len(alone) >= 6
        assert max(abs(a - b) for a, b in zip(losses, alone, strict=True)) < 1e-5


def refusal(make: Callable[[], TinyLM], strategy: MeshStrategy) -> str:
    def rank() -> str:
        with pytest.raises(ValueError) as refused:
            fit(make, strategy, 2, {})
        return str(refused.value)

    [said] = set(run_ranks(rank, 2, join=False))
    return said


def test_a_weight_of_two_stages_or_two_splits_is_refused() -> None:
    make, plan = partial(Automatic, Tied), {**llama_plan(False), "output": RowwiseParallel()}
    assert refusal(make, MeshStrategy(Layout(pipeline=2))) == (
        "output.weight is tied to model.tok_embeddings.weight, and pipeline=2 would train them apart. They must be "
        "two weights, or pipeline be 1."
    )
    assert "the tensor plan splits them in two ways" in refusal(
        make, MeshStrategy(Layout(tensor=2), Treatment(plan=plan))
    )
