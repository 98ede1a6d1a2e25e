"""Ranks, here threads, whose networks only compute while all ranks call the same one."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
import torch
from internlm2_align.roles.lockstep import Lockstep
from torch import nn

PATIENCE_S = 10


class Meeting:
    """A collective of two threads: each gets what both have said."""

    def __init__(self) -> None:
        self.barrier, self.said = Barrier(2), [None, None]

    def exchange(self, rank, value):
        self.said[rank] = value
        self.barrier.wait(PATIENCE_S)
        both = list(self.said)
        self.barrier.wait(PATIENCE_S)
        return both


class Gathering(nn.Module):
    """A network that waits for its peer in each pass, and fails where that one calls another network."""

    def __init__(self, name, rank, meeting) -> None:
        super().__init__()
        self.name, self.rank, self.meeting, self.passes = name, rank, meeting, []

    def forward(self, x):
        assert self.meeting.exchange(self.rank, self.name) == [self.name, self.name]
        self.passes.append(torch.is_grad_enabled() or float(x))
        return x


def on_two_ranks(plans, fails=None):
    """Run plans of calls, as ``[(network, times), ...]`` for each rank. Returns the passes of each network by rank."""
    passing, telling = Meeting(), Meeting()

    def rank(index):
        nets = {name: Gathering(name, index, passing) for name in ("actor", "reward", "critic")}
        least = lambda number: min(telling.exchange(index, number))  # noqa: E731
        lockstep = Lockstep(list(nets.values()), least, lambda net: net(torch.zeros(())))
        with lockstep, torch.no_grad():
            for name, times in plans[index]:
                for _ in range(times):
                    nets[name](torch.ones(()))
                if name == fails:
                    raise ValueError("broken")
        assert not any(net._forward_pre_hooks for net in nets.values())
        return {name: net.passes for name, net in nets.items()}

    with ThreadPoolExecutor(2) as pool:
        return [future.result(PATIENCE_S) for future in [pool.submit(rank, index) for index in range(2)]]


@pytest.mark.parametrize(
    "plans",
    [
        ([("actor", 5), ("reward", 2)], [("actor", 3), ("reward", 1)]),
        ([("actor", 1), ("reward", 4)], [("actor", 3), ("reward", 1)]),
        ([("actor", 2), ("critic", 1), ("actor", 3)], [("actor", 1), ("critic", 2), ("actor", 1)]),
        ([("actor", 2), ("critic", 1), ("actor", 3)], []),
    ],
    ids=["one is done first", "each is once", "a network again", "one has nothing to do"],
)
def test_each_rank_makes_the_passes_of_the_busiest_and_its_own_count(plans):
    found = on_two_ranks(plans)
    for passes, plan in zip(found, plans, strict=True):
        own = {name: sum(times for other, times in plan if other == name) for name in passes}
        # 1 is a pass of the rank's own, 0 one for the other rank.
        assert {name: sum(done) for name, done in passes.items()} == own
    first, second = ({name: len(done) for name, done in passes.items()} for passes in found)
    assert first == second


def test_without_it_ranks_meet_in_other_networks():
    passing = Meeting()

    def rank(index):
        nets = {name: Gathering(name, index, passing) for name in ("actor", "reward")}
        for name in ("actor", "actor", "reward") if index else ("actor", "reward"):
            nets[name](torch.ones(()))

    with ThreadPoolExecutor(2) as pool, pytest.raises(AssertionError):
        for future in [pool.submit(rank, index) for index in range(2)]:
            future.result(PATIENCE_S)


def test_an_error_is_not_held_up_by_the_others():
    with pytest.raises(ValueError, match="broken"):
        on_two_ranks([[("actor", 1)], [("actor", 1)]], fails="actor")
