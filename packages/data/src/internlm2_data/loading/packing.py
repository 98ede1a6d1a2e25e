"""Best-fit packing of documents and conversations into rows."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled.packing import best_fit

Numbers = npt.NDArray[np.int64]


class Packing(NamedTuple):
    """Which items each row holds.

    Attributes:
        items: Items of all rows, row after row, int64 [items].
        extents: Where each row's begin, and the end, int64 [rows + 1].
        row_of: Row of each item, int64 [items].
    """

    items: Numbers
    extents: Numbers
    row_of: Numbers

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.extents) - 1

    def row(self, index: int) -> Numbers:
        """Items of one row."""
        return self.items[self.extents[index] : self.extents[index + 1]]


def packed(lengths: Numbers, capacity: int, order: Numbers) -> Packing:
    """Put each item, the longest first, into the fullest row that still has room for it.

    Args:
        lengths: Size of each item, from 1 to `capacity`, [items].
        capacity: Size of a row.
        order: Each item once: which of equally long ones comes first, and in which order a row holds its own, [items].
    """
    longest_first = order[np.argsort(-lengths[order], kind="stable")]
    rows = np.empty(len(order), np.int64)
    count = best_fit(lengths[longest_first], capacity, rows)
    row_of = np.empty_like(rows)
    row_of[longest_first] = rows
    by_row = order[np.argsort(row_of[order], kind="stable")]
    return Packing(by_row, np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]), row_of)
