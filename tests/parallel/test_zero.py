"""Extents of state: what is refused, and what is communicated while gradients accumulate."""

from collections import Counter

import pytest
from internlm2_parallel import Layout, MeshStrategy, Sharding, Treatment
from internlm2_parallel.testing import (
    LAYOUTS,
    SaveAt,
    TinyLlama,
    TinyLM,
    quiet_trainer,
    run_ranks,
    train,
    train_case,
)
from torch.utils._python_dispatch import TorchDispatchMode


@pytest.mark.parametrize(
    "extents",
    [
        ("full", "full", "partial"),
        ("partial", "replica", "replica"),
        ("full", "partial", "full"),
        ("some", "full", "full"),
    ],
)
def test_extents_that_make_no_sense(extents):
    with pytest.raises(ValueError, match=r"(parameters|gradients)=\w+ must not|'some' must be one of"):
        Sharding(*extents)


@pytest.mark.parametrize(
    ("layout", "sharding", "word"),
    [
        (Layout(shard=2), Sharding("replica", "replica", "replica"), r"optimizer=replica .* replicate=2 and shard=1"),
        (Layout(replicate=2), Sharding(), r"optimizer=full .* replicate=1 and shard=2"),
        (Layout(shard=2), Sharding("partial", "full", "full"), r"sub_group=0 must divide the 2 shard ranks"),
    ],
)
def test_extents_that_the_layout_has_no_axis_for(layout, sharding, word):
    def rank():
        with pytest.raises(ValueError, match=word):
            quiet_trainer(MeshStrategy(layout, Treatment(sharding=sharding)), 2).fit(TinyLM())

    run_ranks(rank, 2, join=False)


class Collectives(TorchDispatchMode):
    """Counts the operations of process groups by name."""

    def __init__(self):
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "c10d":
            self.counts[func._opname] += 1
        return func(*args, **(kwargs or {}))


class TiedLlama(TinyLlama):
    """A head that is its embedding."""

    def __init__(self):
        super().__init__()
        self.output.weight = self.model.tok_embeddings.weight


@pytest.mark.parametrize("name", ["zero1", "fsdp"])
def test_a_head_that_is_tied_to_the_embedding(name, tmp_path):
    alone = train("auto", 1, module=TinyLM(net=TiedLlama))
    saves = [SaveAt(2, tmp_path / "step-2.ckpt")]
    records = train_case(LAYOUTS[name], module=lambda: TinyLM(net=TiedLlama), callbacks=saves)
    assert max(record.distance(alone) for record in records) < 1e-5
    records = train_case(LAYOUTS[name], ckpt_path=tmp_path / "step-2.ckpt", module=lambda: TinyLM(net=TiedLlama))
    assert max(record.distance(alone, 2) for record in records) < 1e-5


def collectives_of_a_step(layout: Layout, sharding: Sharding, micro_batches: int) -> Counter[str]:
    """Collectives of one training step of a rank."""
    module = TinyLM(micro_batches=micro_batches, steps=1)
    with Collectives() as collectives:
        quiet_trainer(MeshStrategy(layout, Treatment(sharding=sharding)), layout.ranks).fit(module)
    return collectives.counts


def test_accumulation_communicates_only_what_the_extents_ask_for():
    def rank():
        layout, found = Layout(shard=2), {}
        for name, sharding in {
            "zero1": Sharding("replica", "replica", "full"),
            "zero2": Sharding("replica", "full", "full"),
            "zero3": Sharding(),
            "zero3, gradients whole": Sharding("full", "replica", "full"),
        }.items():
            found[name] = collectives_of_a_step(layout, sharding, micro_batches=4)
        return found

    found = run_ranks(rank, 2, join=False)[0]
    units = 6  # embedding, four blocks, root
    assert found["zero1"]["_reduce_scatter_base_"] == units
    assert found["zero1"]["_allgather_base_"] == units
    assert found["zero2"]["_reduce_scatter_base_"] == 4 * units
    assert found["zero2"]["_allgather_base_"] == units
    assert found["zero3"]["_reduce_scatter_base_"] == 4 * units
    assert found["zero3"]["_allgather_base_"] > 4 * units
    assert found["zero3, gradients whole"]["_reduce_scatter_base_"] == units
