"""A row of a batch, and how pieces of documents fill it."""

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from internlm2_data.tokens.manifests import Manifest
from internlm2_data.tokens.token_file import TokenSource

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

    @property
    def manifest(self) -> Manifest:
        """What the data is, by which a resumed run tells that it is still the same."""

    def row(self, index: int) -> Row:
        """Row number `index`."""

    def parts(self, index: int) -> list[Span]:
        """The documents that row number `index` holds, in their order, with their tokens."""


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
        self._row = blank(context, pad_id)
        self.filled = 0

    def add(self, ids: npt.NDArray[np.integer], labels: npt.NDArray[np.integer], cut: int) -> None:
        """Append one piece.

        Args:
            ids: Its tokens, [n].
            labels: The token after each, [n] or [n - 1]. The last token has no label where there is none for it.
            cut: Positions restart at its beginning and every `cut` tokens.
        """
        start, stop = self.filled, self.filled + len(ids)
        self._row.ids[start:stop] = ids
        self._row.labels[start : start + len(labels)] = labels
        self._row.positions[start:stop] = np.arange(len(ids)) % cut
        self.filled = stop

    @property
    def row(self) -> Row:
        """The row as far as it is filled. The rest is one document of padding."""
        self._row.positions[self.filled :] = np.arange(len(self._row.ids) - self.filled)
        return self._row


def filled_row(source: TokenSource, parts: Iterable[Span], context: int, cut: int) -> Row:
    """A row of parts of documents. A label is the next token of the document, also behind the end of its part.

    Args:
        source: The documents.
        parts: Parts of them, in order.
        context: Tokens of the row.
        cut: Positions restart at the beginning of a part and every `cut` tokens.
    """
    filler = RowFiller(context)
    for document, start, stop in parts:
        ids = source.read(document, start, stop + 1)
        filler.add(ids[: stop - start], ids[1:], cut)
    return filler.row
