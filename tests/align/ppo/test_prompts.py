from collections import Counter

import pytest
import torch
from internlm2_align.ppo.mixture import Mixture
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompts import HeldOutQueries, QueryLoader


def prompts(count):
    return [Prompt(({"role": "user", "content": str(i)},), (i,), "maths") for i in range(count)]


class Texts:
    """A stateful loader of three batches a pass."""

    def __init__(self):
        self.place = 0

    def __iter__(self):
        while self.place < 3:
            self.place += 1
            yield {"input_ids": torch.tensor([[self.place]])}
        self.place = 0

    def state_dict(self):
        return {"place": self.place}

    def load_state_dict(self, state):
        self.place = state["place"]


def seen(loader):
    return [([p.ids[0] for p in q.prompts], q.texts and int(q.texts.take(None)["input_ids"])) for q in loader]


def test_all_prompts_once_before_any_twice():
    batches = [ids for ids, _ in seen(QueryLoader(prompts(10), 5, 4))]
    assert sorted(batches[0] + batches[1]) == list(range(10)) == sorted(batches[2] + batches[3])
    assert batches[:2] != batches[2:]


def test_resumes_with_its_pretraining_texts():
    whole = seen(QueryLoader(prompts(7), 4, 6, pretrain=Texts()))
    assert [text for _, text in whole] == [1, 2, 3, 1, 2, 3]
    loader = QueryLoader(prompts(7), 4, 6, pretrain=Texts())
    iterator = iter(loader)
    first = seen(next(iterator) for _ in range(2))
    resumed = QueryLoader(prompts(7), 4, 6, pretrain=Texts())
    resumed.load_state_dict(loader.state_dict())
    assert first + seen(resumed) == whole
    assert len(resumed) == 6


def test_ranks_share_an_iteration():
    whole = QueryLoader(prompts(10), 4, 3).of_iteration(1)
    shares = [QueryLoader(prompts(10), 4, 3, dp_rank=rank, dp_size=2).of_iteration(1) for rank in range(2)]
    assert sorted(p.ids for share in shares for p in share) == sorted(p.ids for p in whole)
    with pytest.raises(ValueError, match="queries must be a multiple"):
        QueryLoader(prompts(10), 5, 3, dp_size=2)


class RowsOfRanks:
    """Batches of eight rows, numbered over all batches, of which each rank reads its share."""

    def __init__(self, rank, size):
        self.rank, self.size = rank, size

    def __iter__(self):
        for start in range(0, 96, 8):
            yield {"input_ids": torch.arange(start, start + 8)[self.rank :: self.size, None]}


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (4, 2)])
def test_pretraining_texts_continue_on_another_number_of_ranks(before, after):
    def on(ranks):
        return [QueryLoader(prompts(8), 4, 6, pretrain=RowsOfRanks(r, ranks), dp_rank=r, dp_size=ranks)
                for r in range(ranks)]  # fmt: skip

    def taken(loaders, rows):
        queries = [next(iter(loader)) for loader in loaders]
        return sorted(
            i for query in queries for i in query.texts.take(rows // len(loaders))["input_ids"][:, 0].tolist()
        )

    loaders = on(before)
    assert taken(loaders, 4) == [0, 1, 2, 3]
    resumed = on(after)
    for loader in resumed:
        loader.load_state_dict(loaders[0].state_dict())
    assert taken(resumed, 4) == [4, 5, 6, 7]


@pytest.mark.parametrize(("count", "queries", "ranks"), [(13, 3, 1), (13, 3, 2), (3, 1, 2), (5, 1, 4), (4, 100, 4)])
def test_ranks_validate_on_as_many_batches_none_of_them_empty(count, queries, ranks):
    found = [[[p.ids[0] for p in q.prompts] for q in HeldOutQueries(prompts(count), queries, rank, ranks)]
             for rank in range(ranks)]  # fmt: skip
    assert len({len(batches) for batches in found}) == 1 and all(all(batches) for batches in found)
    assert sorted(i for batches in found for batch in batches for i in batch) == list(range(count))
    with pytest.raises(ValueError, match=r"13 held-out prompts cannot be spread over 14 ranks"):
        HeldOutQueries(prompts(13), 3, 0, 14)


def mixed():
    """30 prompts of maths, 10 of helpful."""
    domains = ["helpful" if i % 4 == 0 else "maths" for i in range(40)]
    return [Prompt((), (i,), domain) for i, domain in enumerate(domains)]


def test_domains_are_mixed_by_weight_in_every_iteration():
    weights = {"maths": 1, "helpful": 2}
    loader = QueryLoader(mixed(), 10, 12, weights=weights)
    asked = [loader.of_iteration(number) for number in range(12)]
    assert {len(part) for part in asked} == {10}
    for number, part in enumerate(asked):
        assert Counter(p.domain for p in part)["helpful"] in (6, 7), number
    helpful = [p.ids for part in asked for p in part if p.domain == "helpful"]
    assert len(helpful) == 80 and set(Counter(helpful).values()) == {8}
    # A resumed run, which begins at any iteration, asks the same.
    assert QueryLoader(mixed(), 10, 12, weights=weights).of_iteration(7) == asked[7]
    shares = [QueryLoader(mixed(), 10, 12, dp_rank=r, dp_size=2, weights=weights).of_iteration(7) for r in range(2)]
    assert [shares[0], shares[1]] == [asked[7][::2], asked[7][1::2]]
    # Ranks see both domains.
    assert all(len({p.domain for p in share}) == 2 for share in shares)


def test_a_rare_domain_is_asked_now_and_then():
    mixture = Mixture(mixed(), {"maths": 99, "helpful": 1}, 10, seed=1)
    counts = [Counter(p.domain for p in mixture.of_iteration(n))["helpful"] for n in range(100)]
    assert sum(counts) == 10 and max(counts) == 1


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"maths": 1}, "lacks helpful"), ({"maths": 1, "helpful": 0}, "must be above 0, which that of helpful is not")],
)
def test_weights_must_fit_the_domains(weights, message):
    with pytest.raises(ValueError, match=message):
        Mixture(mixed(), weights, 10, 1)


def test_many_prompts_cost_little():
    prompts = [Prompt((), (i,), "maths") for i in range(20_000)]
    loader = QueryLoader(prompts, 512, 400)
    seen = [p.ids[0] for number in range(39) for p in loader.of_iteration(number)]
    assert len(set(seen)) == len(seen) == 39 * 512
