import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from internlm2_align.budget import plan_batches


@given(st.lists(st.integers(1, 50), max_size=200), st.integers(50, 120), st.integers(1, 40))
def test_every_item_once_and_no_batch_over_budget(lengths, budget, lookahead):
    batches = plan_batches(lengths, budget, seed=3, lookahead=lookahead)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(0 < sum(lengths[i] for i in batch) <= budget for batch in batches)


def test_the_report_s_budget_is_at_least_98_percent_full():
    rng = random.Random(0)
    lengths = [rng.randint(2 * 32, 2 * 512) for _ in range(4000)]
    batches = plan_batches(lengths, 16_384, seed=1)
    fill = [sum(lengths[i] for i in batch) / 16_384 for batch in batches[:-1]]
    assert min(fill) >= 0.98


def test_batches_mix_lengths():
    rng = random.Random(0)
    lengths = [rng.randint(64, 1024) for _ in range(4000)]
    batches = plan_batches(lengths, 16_384, seed=1)[:-1]
    means = [sum(lengths[i] for i in batch) / len(batch) for batch in batches]
    assert max(means) - min(means) < 400


def test_order_is_a_function_of_the_seed():
    lengths = list(range(1, 40))
    assert plan_batches(lengths, 100, seed=1) == plan_batches(lengths, 100, seed=1)
    assert plan_batches(lengths, 100, seed=1) != plan_batches(lengths, 100, seed=2)
    assert plan_batches([5, 5, 5], 10, seed=None) == [[0, 1], [2]]
    assert plan_batches([], 10, seed=1) == []


def test_an_item_over_the_budget_is_refused():
    with pytest.raises(ValueError, match="budget_tokens"):
        plan_batches([11], 10, seed=1)
