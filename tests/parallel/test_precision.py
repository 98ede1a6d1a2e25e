"""bf16 and compiled blocks under the layouts: near the fp32 losses of one process, with fp32 state where it belongs."""

from dataclasses import replace

import pytest
import torch
from internlm2_parallel import MeshStrategy, Treatment
from internlm2_parallel.testing import (
    LAYOUTS,
    RankError,
    Record,
    TinyLlama,
    TinyLM,
    quiet_trainer,
    run_ranks,
    train_case,
)
from internlm2_parallel.testing.blocks import keep_only

NAMES = [
    "fsdp",
    "hsdp",
    "tensor_sequence",
    "fsdp x tensor_sequence",
    "context ulysses",
    "pipeline 1f1b",
    "pipeline x fsdp",
]
SHARDED = [name for name in NAMES if name not in ("tensor_sequence", "pipeline 1f1b")]


def in_bf16(case):
    return MeshStrategy(case.layout, replace(case.treatment, param_dtype="bfloat16"))


def assert_near(records: list[Record], reference: Record, tolerance: float):
    """Losses are about 5, norms about 2; bf16 keeps 8 bits."""
    distance = max(record.distance(reference) for record in records)
    assert 1e-5 < distance < tolerance  # more than fp32's noise: something was computed in bf16


@pytest.mark.parametrize("name", SHARDED)
def test_gathered_weights_in_bf16(name, reference):
    assert_near(train_case(LAYOUTS[name], strategy=in_bf16), reference, 0.03)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("precision", "tolerance"), [("bf16-mixed", 0.03), ("bf16-true", 0.06)])
def test_precision_of_the_trainer(name, precision, tolerance, reference):
    assert_near(train_case(LAYOUTS[name], precision=precision), reference, tolerance)


def test_state_stays_in_fp32_while_bf16_is_computed():
    case = LAYOUTS["fsdp"]

    def rank():
        module = TinyLM(steps=2)
        quiet_trainer(in_bf16(case), case.ranks).fit(module)
        [optimizer] = module.trainer.optimizers
        tensors = [*module.net.parameters(), *(v for state in optimizer.state.values() for v in state.values())]
        return {str(tensor.dtype) for tensor in tensors}

    assert run_ranks(rank, case.ranks, join=False) == [{"torch.float32"}] * 2


@pytest.mark.parametrize("name", ["tensor_sequence", "pipeline 1f1b"])
def test_a_dtype_of_gathered_weights_where_none_are_gathered_is_refused(name):
    with pytest.raises(
        RankError, match=r"param_dtype=torch\.bfloat16 .* gathers none\. Use the Trainer's precision=bf16-mixed"
    ):
        train_case(LAYOUTS[name], strategy=in_bf16)


def compiled_net():
    net = TinyLlama()
    for block in net.model.layers:
        block.compile()
    return net


def test_an_unknown_dtype_is_refused():
    with pytest.raises(ValueError, match="param_dtype='bf16' must be one of bfloat16, float16, float32"):
        Treatment(param_dtype="bf16")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fsdp", "context ulysses", "pipeline 1f1b"])
def test_compiled_blocks(name, reference):
    torch.compile(torch.sin)(torch.ones(2))  # ranks are forked from a process that has compiled, as other tests do
    records = train_case(LAYOUTS[name], module=lambda: TinyLM(net=compiled_net), max_steps=2, deadline_s=400)
    assert max(record.distance(reference) for record in records) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("keeps", ["matmuls", "nothing"])
def test_blocks_that_are_wrapped_and_compiled(keeps, reference):
    records = train_case(
        LAYOUTS["fsdp"], module=lambda: TinyLM(net=wrapped_and_compiled(keeps)), max_steps=2, deadline_s=400
    )
    assert max(record.distance(reference) for record in records) < 1e-5


def wrapped_and_compiled(keeps):
    def make():
        net = TinyLlama()
        keep_only(net.model.layers, keeps)
        for block in net.model.layers:
            block.compile()
        return net

    return make


def whole_net():
    net = TinyLlama()
    net.compile()
    return net


@pytest.mark.parametrize("name", ["ddp", "fsdp", "tensor", "context gather", "pipeline 1f1b"])
def test_a_network_that_is_compiled_whole_is_refused_under_several_ranks(name):
    with pytest.raises(RankError, match=r"compile='net' does not work with layout .* must be 'blocks' or 'none'"):
        train_case(LAYOUTS[name], module=lambda: TinyLM(net=whole_net))


@pytest.mark.parametrize("net", [compiled_net, wrapped_and_compiled("matmuls")], ids=["compiled", "wrapped"])
def test_compiled_blocks_under_tensor_parallel_are_refused(net):
    with pytest.raises(RankError, match=r"compile='blocks' does not work with tensor=2"):
        train_case(LAYOUTS["tensor"], module=lambda: TinyLM(net=net))
