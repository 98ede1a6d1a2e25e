import json
import multiprocessing
import os
import signal
import time
from dataclasses import replace
from itertools import chain, islice
from itertools import count as count_up

import pytest
import torch
from internlm2_data.loading import BatchRamp, HeldOutBatches, LongRows, PackedBatches, TokenSource


@pytest.fixture
def batches(numbered):
    sources = {"en": numbered(50, 0, "en"), "zh": numbered(20, 1, "zh", base=100_000)}
    return PackedBatches(sources, context=32, batch_rows=4, seed=7, weights={"en": 3, "zh": 1})


def take(loader, count):
    """The next batches, over as many passes as that takes."""
    passes = (loader for _ in count_up())
    return list(islice(chain.from_iterable(passes), count))


def same(ours, theirs):
    return len(ours) == len(theirs) and all(
        torch.equal(a[k], b[k]) for a, b in zip(ours, theirs, strict=True) for k in a
    )


def test_shapes_types_and_share(batches):
    rows = take(batches.loader(), 64)
    assert set(rows[0]) == {"input_ids", "labels", "position_ids"}
    assert all(t.shape == (4, 32) and t.dtype == torch.int64 for t in rows[0].values())
    from_zh = sum((batch["input_ids"] >= 100_000).sum().item() for batch in rows)
    assert from_zh == 64 * 32, "a quarter of the tokens"


@pytest.mark.parametrize("size", [1, 2, 4])
def test_global_batch_does_not_depend_on_the_number_of_ranks(batches, size):
    whole = take(batches.loader(), 20)
    ranks = [take(batches.loader(rank, size), 20) for rank in range(size)]
    for step, batch in enumerate(whole):
        for key, tensor in batch.items():
            for rank in range(size):
                assert torch.equal(ranks[rank][step][key], tensor[rank::size])


def test_more_accumulation_sees_the_same_rows(batches, numbered):
    double = PackedBatches(batches.sources, 32, 8, seed=7, weights=batches.weights)
    small = take(batches.loader(), 10)
    large = take(double.loader(), 5)
    joined = [{k: torch.cat([a[k], b[k]]) for k in a} for a, b in zip(small[::2], small[1::2], strict=True)]
    assert same(joined, large)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [1, 2])
def test_resumes_exactly_on_another_number_of_ranks_and_workers(batches, size, workers):
    reference = take(batches.loader(), 60)
    first = batches.loader(0, 4, num_workers=2)
    take(first, 37)
    state = json.loads(json.dumps(first.state_dict()))
    for rank in range(size):
        loader = batches.loader(rank, size, workers)
        loader.load_state_dict(state)
        expected = [{k: t[rank::size] for k, t in batch.items()} for batch in reference[37:]]
        assert same(take(loader, 23), expected)


def test_state_is_the_same_on_every_rank_and_survives_a_save_before_the_first_batch(batches):
    loaders = [batches.loader(rank, 2) for rank in range(2)]
    for loader in loaders:
        take(loader, 5)
    assert loaders[0].state_dict() == loaders[1].state_dict()
    fresh = batches.loader()
    fresh.load_state_dict(batches.loader().state_dict())
    assert same(take(fresh, 3), take(batches.loader(), 3))


def test_iterating_again_goes_on(batches):
    loader = batches.loader()
    assert same(take(loader, 3) + take(loader, 4), take(batches.loader(), 7))


def test_a_pass_is_as_long_as_the_tokens_unless_said(batches):
    tokens = sum(TokenSource(path).num_tokens for path in batches.sources.values())
    loader = batches.loader()
    assert len(loader) == len(list(loader)) == len(list(loader)) == tokens // (32 * 4)
    short = PackedBatches(batches.sources, 32, 4, seed=7, weights=batches.weights, pass_batches=3).loader(num_workers=2)
    assert same(list(short) + list(short), take(batches.loader(), 6))


def test_the_state_after_a_pass_starts_the_next(batches):
    ended = batches.loader()
    list(ended)
    fresh = batches.loader()
    fresh.load_state_dict(ended.state_dict())
    assert same(list(fresh), list(ended))


def test_long_rows_make_half_of_phase_two(numbered):
    short = numbered(200, 0, "short", low=5, high=40)
    long = numbered(10, 1, "long", low=300, high=400, base=500_000)
    batches = PackedBatches(
        {"en": short},
        context=128,
        batch_rows=4,
        seed=0,
        short_context=32,
        long=LongRows({"en": long}),
        long_fraction=0.5,
    )
    assert batches.shares() == {"en": 0.5, "long/en": 0.5}
    for batch in take(batches.loader(), 16):
        is_long = batch["input_ids"][:, 0] >= 500_000
        assert (batch["position_ids"][~is_long] < 32).all()
    everything = torch.cat([b["input_ids"] for b in take(batches.loader(), 32)])
    assert (everything >= 500_000).double().mean() == 0.5


def test_without_weights_every_source_counts_by_its_size(numbered):
    paths = {"en": numbered(50, 0, "en"), "zh": numbered(20, 1, "zh")}
    sizes = {name: TokenSource(path).num_tokens for name, path in paths.items()}
    shares = PackedBatches(paths, 16, 2, seed=0).shares()
    assert shares == pytest.approx({name: size / sum(sizes.values()) for name, size in sizes.items()})


def test_held_out_reads_every_token_once_and_pads_the_end(numbered):
    path = numbered(30, 3)
    loader = HeldOutBatches(path, context=32, batch_rows=4).loader(num_workers=0)
    batches = list(loader)
    assert len(loader) == len(batches)
    labels = torch.cat([b["labels"].flatten() for b in batches])
    source = TokenSource(path)
    assert (labels != -100).sum() == source.num_tokens - len(source)
    assert same(list(loader), batches), "a second pass starts over"


def test_held_out_batches_of_a_mixture_have_its_rows(numbered):
    train, held = numbered(40, 0), numbered(3, 1, "held", base=5000)
    mixture = PackedBatches({"web": train}, context=16, batch_rows=2, seed=1)
    alike = list(mixture.held_out(str(held)).loader())
    expected = list(HeldOutBatches(held, context=16, batch_rows=2).loader())
    assert all(torch.equal(a["labels"], b["labels"]) for a, b in zip(alike, expected, strict=True))
    with pytest.raises(ValueError, match=r"must be one token file for each name"):
        mixture.held_out([held, held])


def test_held_out_ranks_get_equally_many_batches(numbered):
    path = numbered(30, 3)
    counts = {len(list(HeldOutBatches(path, 32, 4).loader(rank, 4))) for rank in range(4)}
    assert len(counts) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch_rows": 3}, "batch_rows=3 must be a multiple of 2"),
        ({"weights": {"fr": 1}}, r"weights name \['fr'\]"),
        ({"weights": {"en": 0}}, r"weights={'en': 0} leave none of the sources"),
        ({"short_context": 64}, "short_context=64 must be context=32 or less"),
        ({"long_fraction": 1.5}, r"long_fraction=1.5 must be in \[0, 1\]"),
        ({"long_fraction": 0.5}, "long_fraction=0.5 needs long documents, and long is None. `batches=long`"),
        ({"sources": {"en": "nowhere"}, "weights": None}, "nowhere is not a token file"),
    ],
)
def test_errors_name_the_value(batches, change, message):
    fields = {k: getattr(batches, k) for k in ("sources", "context", "batch_rows", "seed", "weights")}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        PackedBatches(**(fields | change)).loader(0, 2)


def test_batches_grow_by_the_ramp(batches):
    """2 rows, then 4, 6 and from 24 rows on the full 8: three stages of 8 rows each."""
    ramped = replace(batches, batch_rows=8, ramp=BatchRamp(first_rows=2, step_rows=2, over_rows=24))
    assert [len(batch["input_ids"]) for batch in take(ramped.loader(), 10)] == [2, 2, 2, 2, 4, 4, 6, 6, 8, 8]


def test_the_ramp_sees_the_rows_of_a_run_without_one(batches):
    ramped = replace(batches, batch_rows=8, ramp=BatchRamp(2, 2, 24))
    grown = {k: torch.cat([batch[k] for batch in take(ramped.loader(), 9)]) for k in ("input_ids", "labels")}
    plain = take(batches.loader(), 9)
    joined = {k: torch.cat([batch[k] for batch in plain])[: len(grown[k])] for k in grown}
    assert all(torch.equal(grown[k], joined[k]) for k in grown)


@pytest.mark.parametrize("done", [1, 5, 8])
def test_a_ramp_resumes_on_other_ranks(batches, done):
    ramped = replace(batches, batch_rows=8, ramp=BatchRamp(2, 2, 24))
    reference = take(ramped.loader(0, 2), 10)
    first = ramped.loader(0, 1, num_workers=2)
    take(first, done)
    second = ramped.loader(0, 2)
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    assert same(take(second, 10 - done), reference[done:])


def test_a_ramp_that_ranks_cannot_share_is_refused(batches):
    ramped = replace(batches, ramp=BatchRamp(first_rows=1, step_rows=2, over_rows=24))
    with pytest.raises(ValueError, match=r"ramp\.first_rows=1 must be a multiple of 2"):
        ramped.loader(0, 2)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_reading_processes_outlive_the_signals_of_a_scheduler(batches, name):
    before = set(multiprocessing.active_children())
    loader = iter(batches.loader(num_workers=1))
    rows = [next(loader)]
    for child in set(multiprocessing.active_children()) - before:
        os.kill(child.pid, signal.Signals[name])
    time.sleep(0.2)
    rows += islice(loader, 3)
    assert same(rows, take(batches.loader(), 4))
