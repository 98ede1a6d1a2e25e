"""What a feature of replies is worth to somebody who scores them: contrasts inside one policy and one prompt.

Replies of one policy to one prompt form a cell. Only cells in which some replies show the feature and others do not say
anything. So a policy that gets better or worse, and prompts that are easy or hard, move nothing:

    value[reply] = cell + gain * shows[reply] + noise            least squares after each cell's mean is taken off

Intervals are Student's t over prompts (cluster-robust, CR1: replies to one prompt are not independent), and never
narrower than the ordinary ones, which keep a handful of equal differences from looking certain.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
NOTHING = 1e-9
"""Sums of squares below this are rounding."""


@dataclass(frozen=True)
class Gain:
    """An estimate with its error.

    Attributes:
        value: Points by which replies that show a feature are scored above those that do not. 0 without evidence.
        error: Standard error, infinite without evidence.
        prompts: Prompts that have a contrast.
        spread: Standard deviation of the scores inside of cells.
    """

    value: float
    error: float
    prompts: int
    spread: float

    def interval(self, level: float) -> tuple[float, float]:
        """Bounds that hold the true gain with this probability.

        Args:
            level: For example 0.95.
        """
        if not math.isfinite(self.error):
            return -math.inf, math.inf
        width = float(stdtrit(self.prompts - 1, 0.5 + level / 2)) * self.error
        return self.value - width, self.value + width

    @property
    def p(self) -> float:
        """Probability of a gain as far from zero where there is none (two-sided). 1 without evidence."""
        if not math.isfinite(self.error) or self.value == 0:
            return 1.0
        if self.error == 0:
            return 0.0
        return float(2 * stdtr(self.prompts - 1, -abs(self.value) / self.error))


def gain(
    shows: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
    cells: Sequence[int] | Ints,
    prompts: Sequence[int] | Ints,
    beside: Sequence[Floats] = (),
) -> Gain:
    """What ``shows`` adds to ``values`` inside of cells.

    Args:
        shows: 1 for replies that show the feature, 0 for others.
        values: Score of each reply.
        cells: Number of the cell of each reply, from 0.
        prompts: Number of its prompt, from 0. Replies to one prompt are one observation.
        beside: Columns whose own effect is taken out first, such as other features.
    """
    places, groups = np.asarray(cells, np.int64), np.asarray(prompts, np.int64)
    x, y = _centred(shows, places), _centred(values, places)
    if len(beside):
        columns = np.stack([_centred(column, places) for column in beside], axis=1)
        x, y = (side - columns @ np.linalg.lstsq(columns, side)[0] for side in (x, y))
    squares = float(x @ x)
    freedom = len(x) - len(np.unique(places)) - len(beside) - 1
    spread = math.sqrt(float(y @ y) / (freedom + 1)) if freedom >= 0 else 0.0
    contrasts = int((np.bincount(groups, x * x) > NOTHING).sum()) if len(x) else 0
    if squares < NOTHING or contrasts < 2 or freedom < 1:
        return Gain(0.0, math.inf, contrasts, spread)
    value = float(x @ y) / squares
    rest = y - value * x
    robust = contrasts / (contrasts - 1) * float((np.bincount(groups, x * rest) ** 2).sum()) / squares**2
    ordinary = float(rest @ rest) / freedom / squares
    return Gain(value, math.sqrt(max(robust, ordinary)), contrasts, spread)


def _centred(values: Sequence[float] | Floats, cells: Ints) -> Floats:
    found = np.asarray(values, np.float64)
    counts = np.maximum(np.bincount(cells), 1)
    return found - (np.bincount(cells, found) / counts)[cells] if len(found) else found


def discoveries(p_values: Sequence[float], rate: float) -> list[bool]:
    """Which of many tests to believe, so that at most a share ``rate`` of those believed is wrong on average.

    Benjamini and Hochberg (1995). It holds for independent and for positively dependent tests.

    Args:
        p_values: One a test.
        rate: The share.
    """
    order = np.argsort(p_values)
    limits = rate * np.arange(1, len(order) + 1) / max(len(order), 1)
    passed = np.flatnonzero(np.asarray(p_values, np.float64)[order] <= limits)
    believed = np.zeros(len(order), bool)
    if len(passed):
        believed[order[: passed[-1] + 1]] = True
    return [bool(one) for one in believed]
