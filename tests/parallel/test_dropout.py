"""Dropout under a layout is that of one process, or one sentence says which module cannot have it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.dropout import rate_of
from internlm2_parallel.testing import LAYOUTS, TinyLlama, TinyLM, quiet_trainer, run_ranks
from torch import Tensor, nn

CUTTING = {
    "context ring": "context=2",
    "tensor_sequence": "sequence_parallel=True",
    "pipeline 1f1b": "pipeline=2",
    "pipeline x context": "context=2 and pipeline=2",
}


def of_a_module() -> TinyLlama:
    net = TinyLlama()
    net.model.layers[2].feed_forward.drop = nn.Dropout(0.2)
    return net


def of_attention() -> TinyLlama:
    """As torch's own attention drops, by a function inside."""
    net = TinyLlama()
    for block in net.model.layers:
        block.attention.attend.register_forward_hook(lambda attend, _, out: F.dropout(out, 0.1, attend.training))
    return net


def of_embeddings() -> TinyLlama:
    net = TinyLlama()
    net.model.tok_embeddings.register_forward_hook(lambda _, __, x: F.dropout(x, 0.1))
    return net


def of_blocks() -> TinyLlama:
    net = TinyLlama()
    for block in net.model.layers:
        block.register_forward_hook(lambda block, _, x: F.dropout(x, 0.1, block.training))
    return net


class OfTheInner(nn.Module):
    """Feed-forward with a function between its two matrices."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.w1, self.w2, self.w3 = inner.w1, inner.w2, inner.w3

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.dropout(F.silu(self.w1(x)) * self.w3(x), 0.1))


def of_feed_forward() -> TinyLlama:
    net = TinyLlama()
    net.model.layers[1].feed_forward = OfTheInner(net.model.layers[1].feed_forward)
    return net


class Late(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return F.dropout(x, 0.1) if self.calls > 3 else x


def later() -> TinyLlama:
    net = TinyLlama()
    net.model.layers[0].attention_norm = nn.Sequential(net.model.layers[0].attention_norm, Late())
    return net


def losses(net: Callable[[], TinyLlama], layout: str, seed: int = 5, seeds_differ: bool = False) -> list[Any]:
    """Of each rank, or what it was refused with."""
    case = LAYOUTS[layout]

    def rank() -> list[float] | str:
        module, strategy = TinyLM(net, steps=5), MeshStrategy(case.layout, case.treatment)
        torch.manual_seed(seed)
        try:
            trainer = quiet_trainer(strategy, case.ranks)
            torch.manual_seed(seed + seeds_differ * strategy.cluster_environment.global_rank())
            trainer.fit(module)
        except ValueError as error:
            return str(error)
        return module.losses

    return run_ranks(rank, case.ranks, join=False)


def refused(net: Callable[[], TinyLlama], layout: str, **how: Any) -> str:
    said = set(map(str, losses(net, layout, **how)))
    assert len(said) == 1, said  # on all ranks alike
    return said.pop()


@pytest.mark.parametrize("layout", ["tensor_sequence", "pipeline x context"])
def test_a_module_of_torch_is_refused_where_no_rank_has_whole_rows_of_all_blocks(layout: str) -> None:
    said = refused(of_a_module, layout)
    assert said.startswith("model.layers.2.feed_forward.drop of TinyLlama is a Dropout of p=0.2, and ranks of ")
    assert f"of {CUTTING[layout]} would draw" in said


@pytest.mark.parametrize("layout", CUTTING)
def test_a_function_is_refused_by_the_module_that_calls_it(layout: str) -> None:
    said = refused(of_attention, layout)
    assert "attention.attend of TinyLlama draws random numbers in its forward pass" in said
    assert f"ranks of {CUTTING[layout]} would draw others" in said


def test_what_one_stage_draws_is_refused_on_all() -> None:
    assert refused(of_embeddings, "pipeline 1f1b").startswith("model.tok_embeddings of TinyLlama draws")


def test_what_begins_to_drop_later_is_refused_then() -> None:
    assert refused(later, "context gather").startswith("TinyLlama draws random numbers")
    assert "but not from its first on" in refused(later, "tensor")


@pytest.mark.parametrize(("net", "name"), [(of_attention, "attention.attend"), (of_feed_forward, "1.feed_forward")])
def test_parts_of_heads_and_of_the_inner_width_are_refused_under_tensor_ranks(net: Any, name: str) -> None:
    said = refused(net, "tensor")
    assert f"{name} of TinyLlama draws random numbers" in said and "that tensor=2 ranks have split" in said


@pytest.mark.parametrize("net", [of_blocks, of_a_module])
def test_whole_hidden_states_are_dropped_as_in_one_process(net: Any) -> None:
    torch.manual_seed(5)
    alone = TinyLM(net, steps=5)
    quiet_trainer("auto", 1).fit(alone)
    for found in losses(net, "tensor"):
        assert found == pytest.approx(alone.losses, abs=1e-5)


def test_tensor_ranks_of_other_seeds_are_refused() -> None:
    assert "ranks of tensor=2 have other random states" in refused(of_blocks, "tensor", seeds_differ=True)


def test_what_is_there_before_the_ranks_is_refused_before_they_start(monkeypatch: pytest.MonkeyPatch) -> None:
    module = TinyLM(of_a_module)
    module.configure_model()
    trainer = quiet_trainer(MeshStrategy(Layout(context=2)), 2)
    monkeypatch.setattr("internlm2_parallel.launcher.RankLauncher.start_children", lambda _: pytest.fail("started"))
    with pytest.raises(ValueError, match=r"drop of TinyLlama is a Dropout of p=0\.2, and ranks of context=2"):
        trainer.fit(module)


@pytest.mark.parametrize("part", [nn.Dropout1d(0.5), nn.AlphaDropout(0.5), nn.MultiheadAttention(8, 2, dropout=0.5)])
def test_rates_of_the_modules_of_torch(part: nn.Module) -> None:
    assert rate_of(part) == 0.5 and rate_of(nn.Linear(1, 1)) == 0


def test_what_is_frozen_drops_nothing() -> None:
    def rank() -> None:
        module = TinyLM(lambda: of_a_module().eval(), steps=1)
        quiet_trainer(MeshStrategy(Layout(context=2)), 2).fit(module)

    run_ranks(rank, 2, join=False)
