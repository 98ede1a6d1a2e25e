"""Strategies by name, as Lightning's own are, and by class method."""

import pytest
from internlm2_parallel import Layout, MeshStrategy, Sharding
from internlm2_parallel.testing import TinyLM, quiet_trainer, run_ranks, train
from lightning.pytorch.strategies import StrategyRegistry

MADE = {
    "ddp": Layout(replicate=2),
    "zero1": Layout(shard=2),
    "zero2": Layout(shard=2),
    "fsdp": Layout(shard=2),
    "hsdp": Layout(shard=2),
    "tensor": Layout(tensor=2),
    "tensor_sequence": Layout(tensor=2, sequence_parallel=True),
    "context": Layout(context=2),
    "pipeline": Layout(pipeline=2),
}


@pytest.mark.parametrize("name", MADE)
def test_a_name_trains_as_one_process(name, reference):
    def rank():
        trainer = quiet_trainer(f"internlm2_{name}", 2, max_steps=2)
        assert isinstance(trainer.strategy, MeshStrategy) and trainer.strategy.layout == MADE[name]
        return train(f"internlm2_{name}", 2, max_steps=2)

    for record in run_ranks(rank, 2, join=False):
        assert len(record.losses) == 2 and record.distance(reference) < 1e-5


def test_every_name_is_registered_once():
    ours = [name for name in StrategyRegistry.available_strategies() if name.startswith("internlm2_")]
    assert sorted(ours) == sorted(f"internlm2_{name}" for name in MADE)


@pytest.mark.parametrize(
    ("strategy", "layout"),
    [
        (MeshStrategy.hsdp(8), Layout(replicate=-1, shard=8)),
        (MeshStrategy.tensor(2), Layout(shard=-1, tensor=2)),
        (MeshStrategy.context(4, "ring"), Layout(shard=-1, context=4)),
        (MeshStrategy.pipeline(2, 8), Layout(pipeline=2, shard=-1)),
        (MeshStrategy.fsdp(nets=["actor"], deferred=True), Layout(shard=-1)),
    ],
)
def test_degrees_of_ones_own(strategy, layout):
    assert strategy.layout == layout


def test_class_methods_choose_the_treatment():
    assert MeshStrategy.zero1().treatment.sharding == Sharding("replica", "replica", "full")
    assert MeshStrategy.context(2, "ring").treatment.context == "ring"
    assert MeshStrategy.pipeline(2, 8).treatment.pipeline.micro_batches == 8
    assert MeshStrategy.fsdp(nets=["actor"], deferred=True).nets == ("actor",)
    with pytest.raises(ValueError, match=r"TinyLM has no network called actor\. nets must name its networks"):
        strategy = MeshStrategy.ddp(nets=["actor"])
        strategy._lightning_module = TinyLM()
        strategy.networks()
