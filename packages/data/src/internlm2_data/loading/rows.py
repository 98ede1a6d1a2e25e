"""A row of a batch, and how pieces of documents fill it."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

IGNORE = -100


class Row(NamedTuple):
    """`context` tokens: ids, labels (the next token, or -100) and positions, each int64 [context]."""

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]


class Span(NamedTuple):
    """Tokens `[start, stop)` of a document."""

    document: int
    start: int
    stop: int


class RowSource(Protocol):
    """Anything that can produce its i-th row, in any order and in any process."""

    def row(self, index: int) -> Row:
        """Row number `index`."""


def blank(context: int, pad_id: int = 0) -> Row:
    """A row of padding: one document of its own, without labels.

    Args:
        context: Tokens of the row.
        pad_id: Token id of padding.
    """
    return Row(
        np.full(context, pad_id, np.int64),
        np.full(context, IGNORE, np.int64),
        np.arange(context, dtype=np.int64),
    )


class RowFiller:
    """Fills one row with pieces, left to right. What stays empty is padding.

    Args:
        context: Tokens of the row.
        pad_id: Id of padding tokens (never seen by the loss).
    """

    def __init__(self, context: int, pad_id: int = 0) -> None:
        self.row = blank(context, pad_id)
        self.filled = 0

    def add(self, ids: npt.NDArray[np.integer], labels: npt.NDArray[np.int64], cut: int) -> None:
        """Append one piece [n]. Its positions restart at its beginning and every `cut` tokens."""
        start, stop = self.filled, self.filled + len(ids)
        self.row.ids[start:stop] = ids
        self.row.labels[start:stop] = labels
        self.row.positions[start:stop] = np.arange(len(ids)) % cut
        self.row.positions[stop:] = np.arange(len(self.row.ids) - stop)
        self.filled = stop
