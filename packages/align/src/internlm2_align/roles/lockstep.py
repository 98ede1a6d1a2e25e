"""Ranks that gather weights for each other, and still call networks a different number of times.

Where weights are sharded, each pass of a network waits for all ranks. Replies end at different tokens, so ranks need
other numbers of passes. Each tells before a pass how far it is, and one that is ahead makes passes over one token for
nothing until the others have caught up:

    rank 0   actor actor actor actor actor  reward reward
    rank 1   actor actor actor (dum) (dum)  reward (dum)       it has called reward, which waited for two passes
"""

from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import nn

DONE = 2**62


class Lockstep:
    """A context in which networks may be called any number of times on each rank, in runs of the same order on all.

    A run is one network called again and again. Ranks may make none of the calls of a run.

    Args:
        nets: The networks, the same order on each rank.
        least: The least of a number over the ranks. Collective.
        dummy: Makes a pass over one token through a network.
    """

    def __init__(
        self, nets: Sequence[nn.Module], least: Callable[[int], int], dummy: Callable[[nn.Module], object]
    ) -> None:
        self.nets, self.least, self.dummy = tuple(nets), least, dummy
        self.run, self.last, self.is_waiting = 0, -1, False
        self.handles: list[Any] = []

    def __enter__(self) -> None:
        # Before the hooks that gather weights.
        self.handles = [
            net.register_forward_pre_hook(partial(self._before, index), prepend=True)
            for index, net in enumerate(self.nets)
        ]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._wait_until(DONE)
        for handle in self.handles:
            handle.remove()

    def _before(self, index: int, net: nn.Module, args: Any) -> None:
        if self.is_waiting:
            return
        if index != self.last:
            self.run, self.last = self.run + 1, index
        self._wait_until(self.run * len(self.nets) + index)

    def _wait_until(self, place: int) -> None:
        """Make passes for nothing until no rank is behind a place."""
        self.is_waiting = True
        with torch.no_grad():
            while (behind := self.least(place)) < place:
                self.dummy(self.nets[behind % len(self.nets)])
        self.is_waiting = False
