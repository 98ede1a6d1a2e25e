"""Modules in other habits than ours train under a layout as in one process, or are refused in a sentence.

A few rows of the table run by default. INTERNLM2_FOREIGN=N adds N rows a layout, drawn from the 480 that there are.
"""

import os
import random
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
import torch.nn.functional as F
from internlm2_parallel import Layout, MeshStrategy, Treatment
from internlm2_parallel.plan import llama_plan
from internlm2_parallel.search.plans import Kept
from internlm2_parallel.testing import LAYOUTS, Case, TinyLlama, TinyLM, quiet_trainer, run_ranks
from internlm2_parallel.testing.batches import split
from torch import Tensor, optim
from torch.distributed.tensor.parallel import RowwiseParallel

MORE = int(os.environ.get("INTERNLM2_FOREIGN", "0"))


def plain() -> TinyLlama:
    return TinyLlama()


def frozen_norms() -> TinyLlama:
    net = TinyLlama()
    for name, weight in net.named_parameters():
        weight.requires_grad = "norm" not in name
    return net


def frozen_bottom() -> TinyLlama:
    """Embedding and first block: a whole stage of a pipeline of four has nothing to train."""
    net = TinyLlama()
    for part in (net.model.tok_embeddings, net.model.layers[0]):
        part.requires_grad_(False)
    return net


class Tied(TinyLlama):
    """A head that is its embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.output.weight = self.model.tok_embeddings.weight


def dropping() -> TinyLlama:
    net = TinyLlama()
    for block in net.model.layers:
        block.register_forward_hook(lambda block, _, x: F.dropout(x, 0.2, block.training))
    return net


NETS: dict[str, Callable[[], TinyLlama]] = {
    "plain": plain,
    "frozen norms": frozen_norms,
    "frozen bottom": frozen_bottom,
    "tied": Tied,
    "dropout": dropping,
}
OPTIMIZERS: dict[str, Callable[..., optim.Optimizer]] = {
    "AdamW": partial(optim.AdamW, lr=3e-3),
    "AMSGrad": partial(optim.Adam, lr=3e-3, amsgrad=True, weight_decay=0.1),
    "SGD": partial(optim.SGD, lr=0.1, momentum=0.9, nesterov=True),
    "NAdam": partial(optim.NAdam, lr=3e-3),
    "RAdam": partial(optim.RAdam, lr=3e-3),
    "Adagrad": partial(optim.Adagrad, lr=1e-2),
    "RMSprop": partial(optim.RMSprop, lr=1e-3, momentum=0.5),
    "Adafactor": partial(optim.Adafactor, lr=3e-3),
}
LOOPS = ("automatic", "by hand")
CLIPS = {"": None, "norm": 0.5, "value": 0.01}


class Habits(NamedTuple):
    """Of a module and its trainer."""

    net: str = "plain"
    optimizer: str = "AdamW"
    loop: str = "automatic"
    accumulated: int = 1
    clip: str = ""


EVERY = [Habits(*values) for values in product(NETS, OPTIMIZERS, LOOPS, (1, 3), CLIPS)]


class Foreign(TinyLM):
    """The loss of a batch is its mean over the tokens of all ranks."""

    def __init__(self, habits: Habits, keeps: Kept = "all", shares: int = 1) -> None:
        super().__init__(NETS[habits.net], OPTIMIZERS[habits.optimizer], keeps=keeps, steps=7)
        self.habits, self.shares, self.automatic_optimization = habits, shares, habits.loop == "automatic"

    def configure_optimizers(self) -> optim.Optimizer:
        """Groups of what is trained. A stage of a pipeline, or a net with frozen norms, has nothing for some."""
        trained = [(name, weight) for name, weight in self.net.named_parameters() if weight.requires_grad]
        ends = [weight for name, weight in trained if "layers" not in name and weight.ndim > 1]
        norms = [weight for _, weight in trained if weight.ndim == 1]
        blocks = [weight for name, weight in trained if "layers" in name and weight.ndim > 1]
        return self.make_optimizer([{"params": ends}, {"params": norms, "weight_decay": 0.0}, {"params": blocks}])

    def loss_sum(self, batch: dict[str, Tensor]) -> Tensor:
        """Of each share of the rows with the same random state, as ranks that began alike have it."""
        state, total = torch.get_rng_state(), torch.zeros(())
        for part in split(batch, self.shares):
            torch.set_rng_state(state)
            total = total + self.net(part["input_ids"], part["position_ids"], part["labels"])
        return total

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor | None:
        reduce = self.trainer.strategy.reduce
        tokens = reduce((batch["labels"] != -100).sum().float(), reduce_op="mean")
        loss = self.loss_sum(batch) / tokens
        self.losses.append(float(reduce(loss.detach(), reduce_op="mean")))
        if self.automatic_optimization:
            return loss
        self.step_by_hand(loss, batch_idx)
        return None

    def step_by_hand(self, loss: Tensor, batch_idx: int) -> None:
        """Zeroes after the forward pass, as most loops do."""
        optimizer: Any = self.optimizers()
        begins, ends = batch_idx % self.habits.accumulated == 0, (batch_idx + 1) % self.habits.accumulated == 0
        if begins:
            optimizer.zero_grad()
        with optimizer.toggle_model(sync_grad=ends):
            self.manual_backward(loss / self.habits.accumulated)
        if ends:
            if self.habits.clip:
                self.clip_gradients(optimizer, CLIPS[self.habits.clip], self.habits.clip)
            optimizer.step()


def fit(habits: Habits, strategy: Any = "auto", devices: int = 1, keeps: Kept = "all", shares: int = 1) -> list[float]:
    """Losses by batch."""
    torch.manual_seed(5)
    module, options = Foreign(habits, keeps, shares), {}
    if habits.loop == "automatic":
        options["accumulate_grad_batches"] = habits.accumulated
        if habits.clip:
            options |= {"gradient_clip_val": CLIPS[habits.clip], "gradient_clip_algorithm": habits.clip}
    quiet_trainer(strategy, devices, **options).fit(module)
    return module.losses


def refusal(habits: Habits, case: Case) -> str | None:
    """What a pair of module and layout is refused with."""
    layout, stages = case.layout, case.layout.pipeline
    if habits.net == "tied" and stages > 1:
        return f"output.weight is tied to model.tok_embeddings.weight, and pipeline={stages} would train them apart."
    if habits.net == "dropout" and (layout.context > 1 or stages > 1 or layout.sequence_parallel):
        return "model.layers.0 of TinyLlama draws random numbers in its forward pass, as dropout does, and ranks of "
    if habits.optimizer == "Adafactor" and case.ranks > stages:
        return f"Adafactor does not step with weights that layout {layout} splits: aten."
    if habits.net == "frozen bottom" and stages == 4:
        return "Rank 0 of pipeline=4 would have frozen weights alone."
    return None


DRAWN = random.Random(1).sample(EVERY, len(EVERY)) * 2
ROWS = [
    *((Habits(loop=loop, accumulated=3, clip="norm"), "pipeline x fsdp") for loop in LOOPS),
    (Habits("dropout", "NAdam"), "pipeline 1f1b"),
    (Habits("dropout", "SGD", accumulated=3), "fsdp recompute"),
    (Habits("dropout", clip="norm"), "tensor"),
    (Habits("frozen norms", "RAdam", "by hand", clip="value"), "tensor_sequence"),
    (Habits(optimizer="RAdam", clip="value"), "tensor_sequence"),
    (Habits("frozen norms", "Adafactor"), "pipeline 4"),
    (Habits("frozen bottom", "Adagrad"), "pipeline 4"),
    (Habits("frozen bottom", "RMSprop", clip="value"), "hsdp"),
    (Habits("tied", "Adafactor", accumulated=3, clip="norm"), "fsdp x tensor_sequence"),
    (Habits("tied", "AMSGrad", clip="value"), "context gather"),
    (Habits("tied"), "pipeline interleaved"),
    *((habits, name) for index, name in enumerate(LAYOUTS) for habits in DRAWN[index * 19 : index * 19 + MORE]),
]


@cache
def alone(habits: Habits, shares: int) -> list[float]:
    torch.set_num_threads(1)
    return fit(habits, shares=shares)


@pytest.mark.parametrize(("habits", "layout"), ROWS, ids=[f"{'-'.join(map(str, h))} under {name}" for h, name in ROWS])
def test_as_in_one_process(habits: Habits, layout: str) -> None:
    case = LAYOUTS[layout]
    refused = refusal(habits, case)

    def rank() -> list[float] | str:
        try:
            return fit(habits, MeshStrategy(case.layout, case.treatment), case.ranks, case.keeps)
        except ValueError as error:
            return str(error)

    results = run_ranks(rank, case.ranks, join=False, deadline_s=600 if MORE else 120)
    if refused:
        assert all(isinstance(said, str) and said.startswith(refused) for said in results)
        return
    expected = alone(habits, case.layout.data_parallel_size if habits.net == "dropout" else 1)
    for losses in results:
        assert len(losses) == len(expected) == 7, losses
        assert max(abs(a - b) for a, b in zip(losses, expected, strict=True)) < 1e-5


def test_an_optimizer_that_measures_all_weights_at_once_is_refused_under_stages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def one_group(module: Foreign) -> optim.Optimizer:
        return optim.LBFGS(module.net.parameters())

    monkeypatch.setattr(Foreign, "configure_optimizers", one_group)

    def rank() -> None:
        with pytest.raises(ValueError, match=r"^LBFGS measures all weights at once, and the ranks of pipeline=2 have"):
            fit(Habits(loop="by hand"), MeshStrategy(Layout(pipeline=2)), 2)

    run_ranks(rank, 2, join=False)


def test_a_tied_weight_that_a_plan_splits_in_two_ways_is_refused() -> None:
    plan = {**llama_plan(False), "output": RowwiseParallel()}

    def rank() -> str:
        with pytest.raises(ValueError) as refused:
            fit(Habits("tied"), MeshStrategy(Layout(tensor=2), Treatment(plan=plan)), 2)
        return str(refused.value)

    [said] = set(run_ranks(rank, 2, join=False))
    assert "the tensor plan splits them in two ways" in said
