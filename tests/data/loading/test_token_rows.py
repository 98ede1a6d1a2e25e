import numpy as np
import pytest
from internlm2_data.loading.token_rows import TokenRows
from internlm2_data.tokens import TokenSource


def test_rows_worked_by_hand(write):
    source = TokenSource(write([[1, 2, 3, 4, 5, 6, 7], [8, 9], [10, 11, 12]]))
    rows = TokenRows(source, context=5, cut=5, seed=None)

    assert len(rows) == 3
    first, second, third = (rows.row(i) for i in range(3))
    assert first.ids.tolist() == [1, 2, 3, 4, 5]
    assert first.labels.tolist() == [2, 3, 4, 5, 6], "the label of a row's last token is the document's next token"
    assert first.positions.tolist() == [0, 1, 2, 3, 4]
    assert second.ids.tolist() == [6, 7, 8, 9, 10]
    assert second.labels.tolist() == [7, -100, 9, -100, 11]
    assert second.positions.tolist() == [0, 1, 0, 1, 0]
    assert third.ids[:2].tolist() == [11, 12]
    assert third.labels.tolist() == [12, -100, -100, -100, -100]
    assert third.positions.tolist() == [0, 1, 0, 1, 2], "padding is a document of its own"


def test_cut_restarts_positions_but_keeps_the_next_token(write):
    source = TokenSource(write([list(range(10))]))
    row = TokenRows(source, context=10, cut=4, seed=None).row(0)
    assert row.positions.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 0, 1]
    assert row.labels.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, -100]


@pytest.mark.parametrize("context", [1, 7, 64, 500])
def test_an_epoch_holds_every_token_once_and_goes_on_with_another_order(numbered, context):
    source = TokenSource(numbered(60, seed=0))
    rows = TokenRows(source, context, context, seed=3)
    total = source.num_tokens
    stream = np.concatenate([rows.row(i).ids for i in range(2 * len(rows) + 1)])
    assert sorted(stream[:total]) == list(range(total))
    assert sorted(stream[total : 2 * total]) == list(range(total))
    assert stream[:total].tolist() != stream[total : 2 * total].tolist()


def test_rows_are_found_in_any_order(numbered):
    source = TokenSource(numbered(40, seed=1))
    forward = TokenRows(source, 16, 16, seed=5)
    backward = TokenRows(source, 16, 16, seed=5)
    expected = [forward.row(i) for i in range(150)]
    for index in reversed(range(150)):
        for mine, reference in zip(backward.row(index), expected[index], strict=True):
            np.testing.assert_array_equal(mine, reference)


def test_every_label_is_the_token_after_in_its_document(numbered):
    path = numbered(40, seed=2)
    source = TokenSource(path)
    last = set((np.cumsum(source.lengths) - 1).tolist())
    rows = TokenRows(source, 32, 8, seed=9)
    for row in map(rows.row, range(40)):
        for token, label in zip(row.ids, row.labels, strict=True):
            assert label == (-100 if int(token) in last else token + 1)
        assert row.positions.max() < 8
