"""The order in which prompts are asked: shuffled passes, of all prompts together or of each domain by its weight."""

import math
from collections.abc import Mapping, Sequence

import torch

from internlm2_align.ppo.prompt import Prompt


class Mixture:
    """Prompts of any iteration, as a function of the seed.

    Each domain is asked in passes of its own: all of its prompts once before any twice.

    Args:
        prompts: All prompts.
        weights: Share of each domain in every iteration, in any unit. None takes all prompts as one domain.
        queries: Prompts of an iteration.
        seed: Of the order.

    Raises:
        ValueError: If weights are missing or not above 0, or there are no prompts.
    """

    def __init__(self, prompts: Sequence[Prompt], weights: Mapping[str, float] | None, queries: int, seed: int) -> None:
        if not prompts:
            raise ValueError("There are no prompts to ask.")
        self.queries, self.seed = queries, seed
        groups = [list(prompts)]
        self.shares = [1.0]
        if weights is not None:
            _check_weights(weights, {prompt.domain for prompt in prompts})
            groups = [[prompt for prompt in prompts if prompt.domain == domain] for domain in sorted(weights)]
            self.shares = [weights[domain] / sum(weights.values()) for domain in sorted(weights)]
        self.passes = [_Passes(group, seed + 7_919 * number) for number, group in enumerate(groups)]
        self._given = [[0] * len(groups)]

    def of_iteration(self, number: int) -> list[Prompt]:
        """The prompts of an iteration, counted from 0."""
        while len(self._given) <= number + 1:
            self._given.append(self._next(self._given[-1], len(self._given)))
        bounds = zip(self.passes, self._given[number], self._given[number + 1], strict=True)
        found = [passes.at(place) for passes, start, end in bounds for place in range(start, end)]
        if len(self.passes) == 1:
            return found
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        return [found[index] for index in torch.randperm(len(found), generator=generator).tolist()]

    def _next(self, given: Sequence[int], iterations: int) -> list[int]:
        """Prompts of each domain after so many iterations: whoever lacks most is asked first."""
        lacks = [share * iterations * self.queries - count for share, count in zip(self.shares, given, strict=True)]
        counts = [max(0, math.floor(lack)) for lack in lacks]
        while missing := self.queries - sum(counts):
            by_lack = [lack - count for lack, count in zip(lacks, counts, strict=True)]
            if missing > 0:
                counts[by_lack.index(max(by_lack))] += 1
            else:
                counts[by_lack.index(min(gap for gap, count in zip(by_lack, counts, strict=True) if count))] -= 1
        return [before + count for before, count in zip(given, counts, strict=True)]


class _Passes:
    """Prompts in a new order as often as needed. The order of the present pass is kept."""

    def __init__(self, prompts: Sequence[Prompt], seed: int) -> None:
        self.prompts, self.seed = prompts, seed
        self._orders: dict[int, list[int]] = {}

    def at(self, place: int) -> Prompt:
        number, inside = divmod(place, len(self.prompts))
        if number not in self._orders:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
            self._orders = {number: torch.randperm(len(self.prompts), generator=generator).tolist()}
        return self.prompts[self._orders[number][inside]]


def _check_weights(weights: Mapping[str, float], domains: set[str]) -> None:
    if lacking := domains - weights.keys():
        raise ValueError(
            f"weights={dict(weights)} lacks {', '.join(sorted(lacking))}, which prompts have. Weigh each domain."
        )
    for domain, weight in weights.items():
        if not weight > 0:
            raise ValueError(f"weights={dict(weights)} must be above 0, which that of {domain} is not.")
