"""Best-fit packing, against a packer that tries every row, and rows of whole documents."""

from bisect import bisect_left, insort

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from internlm2_data.loading import PackedBatches, TokenSource
from internlm2_data.loading.fitted_rows import FittedRows
from internlm2_data.loading.packing import packed
from internlm2_data.loading.rows import Span


def rooms_of_best_fit(lengths, capacity):
    """The room that each row is left with, by a sorted list of all rooms."""
    rooms = []
    for length in sorted(lengths, reverse=True):
        place = bisect_left(rooms, length)
        insort(rooms, (rooms.pop(place) if place < len(rooms) else capacity) - length)
    return rooms


def waste(packing, lengths, capacity):
    return 1 - sum(lengths) / (packing.rows * capacity)


def test_by_hand():
    packing = packed(np.array([6, 5, 4, 3, 10, 2]), 10, np.array([5, 4, 3, 2, 1, 0]))
    assert [packing.row(row).tolist() for row in range(packing.rows)] == [[4], [2, 0], [5, 3, 1]]
    assert packing.row_of.tolist() == [1, 2, 1, 2, 0, 2]


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40).flatmap(lambda top: st.tuples(st.just(top), st.lists(st.integers(1, top), min_size=1))))
def test_rows_are_those_of_a_slow_packer(drawn):
    capacity, lengths = drawn
    packing = packed(np.array(lengths), capacity, np.arange(len(lengths))[::-1])
    rows = [packing.row(row).tolist() for row in range(packing.rows)]
    assert sorted(item for row in rows for item in row) == list(range(len(lengths)))
    assert all(row == sorted(row, reverse=True) for row in rows), "a row holds its items in the given order"
    rooms = [capacity - sum(lengths[item] for item in row) for row in rows]
    assert sorted(rooms) == rooms_of_best_fit(lengths, capacity)
    assert all(item in rows[row] for item, row in enumerate(packing.row_of.tolist()))


@pytest.mark.parametrize(("capacity", "most"), [(4096, 0.02), (32768, 0.01)])
def test_little_is_wasted_on_documents_and_on_conversations(capacity, most):
    rng = np.random.default_rng(0)
    for mean in (5.0, 6.5):  # half of them below 150 and below 660 tokens
        lengths = np.clip(rng.lognormal(mean, 1.2, 20_000).astype(np.int64), 1, capacity)
        assert waste(packed(lengths, capacity, rng.permutation(len(lengths))), lengths, capacity) < most


@pytest.fixture
def rows(numbered):
    return FittedRows(TokenSource(numbered(60, 5, low=1, high=90)), context=32, cut=32, seed=3)


def test_documents_that_fit_are_whole_and_every_token_comes_once_an_epoch(rows):
    source = rows.source
    for epoch in range(2):
        parts = [part for row in range(len(rows)) for part in rows.parts(epoch * len(rows) + row)]
        assert sorted(parts) == [
            Span(document, start, min(length, start + 32))
            for document, length in enumerate(source.lengths.tolist())
            for start in range(0, length, 32)
        ]
        read = [rows.row(epoch * len(rows) + row) for row in range(len(rows))]
        filled = [
            row.ids[: sum(p.stop - p.start for p in rows.parts(k + epoch * len(rows)))] for k, row in enumerate(read)
        ]
        tokens = np.sort(np.concatenate(filled))
        np.testing.assert_array_equal(tokens, np.arange(source.num_tokens))
        labels = np.concatenate([row.labels[row.labels >= 0] for row in read])
        assert len(labels) == source.num_tokens - len(source), "all but the last token of a document have a label"
    order = [[tuple(part) for row in range(len(rows)) for part in rows.parts(e * len(rows) + row)] for e in (0, 1)]
    assert order[0] != order[1]


def test_padding_is_a_document_without_labels(rows):
    for index in range(len(rows)):
        filled = sum(part.stop - part.start for part in rows.parts(index))
        row = rows.row(index)
        assert row.positions[filled:].tolist() == list(range(32 - filled))
        assert (row.labels[filled:] == -100).all() and (row.positions[: filled or 1][0] == 0)


@pytest.mark.parametrize("count", [0, 1, 7, 61, 100])
def test_which_rows_hold_a_document(rows, count):
    spans = [Span(document, 0, int(length)) for document, length in enumerate(rows.source.lengths)]
    there = {(part.document, row) for row in range(count) for part in rows.parts(row)}
    assert set(rows.rows_of(spans, count)) == there
    assert rows.given(count).tolist() == sorted({document for document, _ in there})


def test_batches_of_whole_documents_resume_on_other_ranks(numbered):
    sources = {"en": numbered(50, 0, "en"), "zh": numbered(30, 1, "zh", base=100_000)}
    batches = PackedBatches(sources, 64, 4, seed=1, packing="best_fit")
    whole = list(batches.loader())
    assert len(whole) == sum(len(rows) for rows in batches.rows()) // 4
    first = batches.loader(0, 2)
    reader = iter(first)
    for _ in range(3):
        next(reader)
    rest = batches.loader(1, 2, num_workers=1)
    rest.load_state_dict(first.state_dict())
    assert all(
        torch.equal(ours["input_ids"], theirs["input_ids"][1::2]) for ours, theirs in zip(rest, whole[3:], strict=True)
    )
    with pytest.raises(ValueError, match=r"packing=loose must be one of cut, best_fit\."):
        PackedBatches(sources, 64, 4, seed=1, packing="loose")
