"""The cost model against published runs, its two fitted constants always taken from other runs."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from internlm2_parallel.search.published import PUBLISHED, Published
from internlm2_parallel.search.time import Time, time_of

SUSTAINED_GRID = tuple(percent / 100 for percent in range(60, 100))
NETWORK_GRID = tuple(percent / 100 for percent in range(20, 102, 2))
RANGE = (0.85, 1.20)
"""Predicted over published between these counts as right."""


@dataclass(frozen=True)
class Fitted:
    """Constants that no data sheet has.

    Attributes:
        sustained: See `SUSTAINED`.
        roce_share: See `ROCE_SHARE`.
    """

    sustained: float
    roce_share: float


START, ROUNDS = Fitted(0.8, 0.5), 3


@dataclass(frozen=True)
class Verdict:
    """One published run and its prediction.

    Attributes:
        run: The run.
        fitted: The constants, from the other judged runs.
        time: The prediction.
        without_source: Predicted over published with ``sustained`` from the runs of other sources alone.
    """

    run: Published
    fitted: Fitted
    time: Time
    without_source: float

    @property
    def ratio(self) -> float:
        """Predicted over published tokens a second."""
        return self.time.tokens_s / self.run.tokens_s

    @property
    def is_right(self) -> bool:
        """Whether the ratio is within `RANGE`."""
        return RANGE[0] <= self.ratio <= RANGE[1]


@cache
def predicted(run: Published, fitted: Fitted) -> Time:
    """Time of a published run's own layout.

    Args:
        run: The run.
        fitted: The constants.
    """
    machine = replace(run.machine, sustained=fitted.sustained)
    if run.hardware == "a100_roce":
        machine = replace(machine, network_share=fitted.roce_share)
    return time_of(run.plan, run.work, machine)


def fit(runs: Iterable[Published]) -> Fitted:
    """The constants of the grids with the least squared error of log(predicted / published), found one after the other.

    Args:
        runs: Published runs.
    """
    runs, found = list(runs), START
    for _ in range(ROUNDS):
        found = min((replace(found, sustained=value) for value in SUSTAINED_GRID), key=lambda tried: error(runs, tried))
        found = min((replace(found, roce_share=value) for value in NETWORK_GRID), key=lambda tried: error(runs, tried))
    return found


def error(runs: Iterable[Published], fitted: Fitted) -> float:
    """Sum of squared log(predicted / published).

    Args:
        runs: Published runs.
        fitted: The constants.
    """
    return sum(math.log(predicted(run, fitted).tokens_s / run.tokens_s) ** 2 for run in runs)


def judge(runs: Sequence[Published] = PUBLISHED) -> list[Verdict]:
    """Every run with the constants that the other judged runs give.

    Args:
        runs: Published runs.
    """
    return [_judged(run, [other for other in runs if other.judged and other != run]) for run in runs]


def _judged(run: Published, others: list[Published]) -> Verdict:
    fitted = fit(others)
    strangers = [other for other in others if other.source != run.source]
    apart = min(SUSTAINED_GRID, key=lambda sustained: error(strangers, Fitted(sustained, fitted.roce_share)))
    without = predicted(run, Fitted(apart, fitted.roce_share)).tokens_s / run.tokens_s
    return Verdict(run, fitted, predicted(run, fitted), without)
