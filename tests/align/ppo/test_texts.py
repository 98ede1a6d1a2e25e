"""Pre-training rows by the token: half of what is sampled in the long run, and exactly resumed."""

import pytest
import torch
from internlm2_align.ppo.texts import TextRows


def batches(*sizes):
    """Batches of so many rows of 8 tokens. The first token of a row is its number."""
    found, done = [], 0
    for size in sizes:
        ids = torch.arange(done, done + size)[:, None].expand(size, 8)
        found.append({"input_ids": ids, "labels": ids, "position_ids": ids})
        done += size
    return found


class Stateful:
    """A loader that can say where it is."""

    def __init__(self, batches):
        self.batches, self.place = batches, 0

    def __iter__(self):
        while self.place < len(self.batches):
            self.place += 1
            yield self.batches[self.place - 1]
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


def numbers(batch):
    return batch["input_ids"][:, 0].tolist()


def test_rows_follow_one_another_over_batches_and_passes():
    texts = TextRows(batches(3, 2))
    assert [numbers(texts.take(tokens)) for tokens in (8, 16, 24, 1, 0)] == [[0], [1, 2], [3, 4, 0], [1], [2]]
    assert numbers(texts.take(12.1)) == [3, 4] and numbers(TextRows(batches(3)).take(11.9)) == [0]


def test_without_a_share_a_whole_batch_is_given():
    texts = TextRows(batches(3, 2))
    assert [numbers(texts.take(None)) for _ in range(3)] == [[0, 1, 2], [3, 4], [0, 1, 2]]


@pytest.mark.parametrize("make", [Stateful, list])
@pytest.mark.parametrize("taken", range(6))
def test_a_resumed_run_takes_the_rows_of_an_undisturbed_one(make, taken):
    wanted = [numbers(texts.take(20)) for texts in [TextRows(make(batches(3, 2, 4)))] for _ in range(10)]
    before, after = TextRows(make(batches(3, 2, 4))), TextRows(make(batches(3, 2, 4)))
    for _ in range(taken):
        before.take(20)
    after.load_state_dict(before.state_dict())
    assert [numbers(after.take(20)) for _ in range(10 - taken)] == wanted[taken:]


def test_data_without_batches_are_refused():
    with pytest.raises(ValueError, match="give no batch"):
        TextRows([]).take(8)
