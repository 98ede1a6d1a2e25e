"""Layouts are settled and refused as a whole, in words, before any process group exists."""

import pytest
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from internlm2_parallel import Layout, MeshStrategy
from internlm2_parallel.layout import AXES, describe
from internlm2_parallel.testing import TinySize, quiet_trainer


def test_one_open_degree_takes_the_rest():
    assert Layout(shard=-1, tensor=2).settled(8) == Layout(shard=4, tensor=2)
    assert Layout(shard=4, tensor=2).settled(8).data_parallel_size == 4


@pytest.mark.parametrize("layout", [Layout(shard=2), Layout(shard=-1, tensor=3), Layout(pipeline=16)])
def test_a_layout_that_does_not_fill_the_world_names_every_degree_and_the_world(layout):
    with pytest.raises(ValueError, match="world of 8") as error:
        layout.settled(8)
    assert all(f"{axis}=" in str(error.value) for axis in AXES)
    assert "the Trainer's devices x num_nodes" in str(error.value)


@pytest.mark.parametrize(
    ("degrees", "word"),
    [
        ({"shard": 0}, "below 1"),
        ({"shard": -1, "tensor": -1}, "2 degrees open"),
        ({"sequence_parallel": True}, "tensor"),
    ],
)
def test_impossible_degrees(degrees, word):
    with pytest.raises(ValueError, match=word):
        Layout(**degrees)


@pytest.mark.parametrize(
    ("layout", "tokens", "words"),
    [
        (Layout(tensor=8), 64, ["kv heads 4 % tensor=8"]),
        (Layout(tensor=5), 64, ["kv heads", "vocabulary 96", "FFN width 64"]),
        (Layout(pipeline=5), 64, ["5 stages for 4 blocks"]),
        (Layout(context=2), 30, ["30 tokens", "% 4"]),
        (Layout(context=2, tensor=2, sequence_parallel=True), 36, ["36 tokens", "% 8"]),
        (Layout(tensor=8, context=3), 64, ["kv heads", "64 tokens"]),
    ],
)
def test_all_complaints_about_a_network_come_together(layout, tokens, words):
    with pytest.raises(ValueError, match="does not fit") as error:
        layout.check(TinySize(), tokens)
    assert all(word in str(error.value) for word in words)
    assert all(f"{axis}=" in str(error.value) for axis in AXES)


@pytest.mark.parametrize("layout", [Layout(shard=3), Layout(tensor=2, sequence_parallel=True), Layout(pipeline=2)])
def test_the_strategy_refuses_before_any_process_group(layout):
    strategy = MeshStrategy(layout, shape=TinySize(layers=1, num_kv_heads=3), tokens=7)
    with pytest.raises(ValueError, match="Layout pipeline="):
        quiet_trainer(strategy, devices=2)
    assert not dist.is_initialized()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_settling_is_the_inverse_of_opening(pipeline, replicate, shard, context, tensor):
    layout = Layout(pipeline, replicate, shard, context, tensor)
    assert layout.settled(layout.ranks) == layout
    assert Layout(pipeline, replicate, -1, context, tensor).settled(layout.ranks) == layout


def test_description_shows_what_differs_from_one_process():
    assert describe(Layout()) == "single"
    assert describe(Layout(shard=4, tensor=2)) == "shard4-tensor2"
