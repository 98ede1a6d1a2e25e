"""Batches by token count: which items share a batch of at most so many tokens.

Items come in a seeded random order. A batch takes the next item as long as it fits, then the largest that fits among
the following ``lookahead`` items, until none does. So batches are random mixtures of lengths and still nearly full.
"""

from bisect import bisect_right, insort
from collections.abc import Sequence

import torch


def plan_batches(
    lengths: Sequence[int], budget_tokens: int, *, seed: int | None, lookahead: int = 512
) -> list[list[int]]:
    """Plan one epoch.

    Args:
        lengths: Tokens of each item.
        budget_tokens: Most tokens of a batch.
        seed: Of the order. None keeps the given order.
        lookahead: How far a batch looks for an item that still fits.

    Returns:
        Indices of each batch. Every item is in exactly one.

    Raises:
        ValueError: If an item is longer than the budget.
    """
    if lengths and max(lengths) > budget_tokens:
        raise ValueError(
            f"An item has {max(lengths)} tokens, more than the budget of {budget_tokens}. Raise budget_tokens or lower "
            "max_tokens."
        )
    order = list(range(len(lengths)))
    if seed is not None:
        order = torch.randperm(len(lengths), generator=torch.Generator().manual_seed(seed)).tolist()
    window = _Window(order, lengths, lookahead)
    batches = []
    while window:
        batches.append(window.fill(budget_tokens))
    return batches


class _Window:
    """The next items of the order, also sorted by length."""

    def __init__(self, order: Sequence[int], lengths: Sequence[int], lookahead: int) -> None:
        self.order, self.lengths, self.lookahead = order, lengths, lookahead
        self.place = self.ahead = 0
        self.taken = [False] * len(order)
        self.by_length: list[tuple[int, int]] = []  # (length, place in the order)
        self._extend()

    def __bool__(self) -> bool:
        return bool(self.by_length)

    def fill(self, budget_tokens: int) -> list[int]:
        batch: list[int] = []
        room = budget_tokens
        while self:
            place = self.place
            if self.lengths[self.order[place]] > room:
                found = bisect_right(self.by_length, (room, len(self.order)))
                if found == 0:
                    break
                place = self.by_length[found - 1][1]
            room -= self._take(place)
            batch.append(self.order[place])
        return batch

    def _take(self, place: int) -> int:
        length = self.lengths[self.order[place]]
        self.by_length.remove((length, place))
        self.taken[place] = True
        while self.place < len(self.order) and self.taken[self.place]:
            self.place += 1
        self._extend()
        return length

    def _extend(self) -> None:
        while self.ahead < min(self.place + self.lookahead, len(self.order)):
            insort(self.by_length, (self.lengths[self.order[self.ahead]], self.ahead))
            self.ahead += 1
