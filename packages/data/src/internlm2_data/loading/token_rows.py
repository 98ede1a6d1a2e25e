"""The shuffled, endless stream of one token file, cut into rows.

Epoch after epoch the documents are laid end to end in a new order. Row k is tokens [k * context, (k + 1) *
context) of that. So a document longer than a row continues in the next one ("cut at 4,096, the remainder used
too", report section 3.3), nothing is ever dropped, and any row can be found without replaying those before
it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.loading.order import shuffled
from internlm2_data.loading.rows import IGNORE, Row, RowFiller, Span
from internlm2_data.tokens.token_file import TokenSource


class TokenRows:
    """Rows of one source.

    Args:
        source: The documents.
        context: Tokens of a row.
        cut: No piece of a document is longer than this (positions restart); `context` for no further cut.
        seed: Of the document order. None keeps the stored order and ends after one pass (the last row is
            padded).
    """

    def __init__(self, source: TokenSource, context: int, cut: int, seed: int | None) -> None:
        self.source, self.context, self.cut, self.seed = source, context, cut, seed
        self._orders: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        """Rows of one pass, the last one perhaps partly filled."""
        return -(-self.source.num_tokens // self.context)

    def row(self, index: int) -> Row:
        """Row `index` of the endless stream."""
        filler = RowFiller(self.context)
        position = index * self.context
        while filler.filled < self.context:
            epoch, offset = divmod(position, self.source.num_tokens)
            if self.seed is None and epoch:
                break
            position += self._fill(filler, epoch, offset)
        return filler.row

    @property
    def name(self) -> str:
        """The token file."""
        return str(self.source.path)

    def ids(self, document: int) -> npt.NDArray[Any]:
        """Ids of a document, [n]."""
        return self.source.read(document)

    def given(self, rows: int) -> npt.NDArray[np.int64]:
        """Documents of which the first `rows` rows hold a part, in stored order."""
        epochs, rest = divmod(rows * self.context, self.source.num_tokens)
        if epochs:
            return np.arange(len(self.source))
        documents, ends = self._order(0)
        return np.sort(documents[: int(np.searchsorted(ends, rest, side="left")) + bool(rest)])

    def rows_of(self, spans: Sequence[Span], rows: int) -> Iterator[tuple[int, int]]:
        """Which of the first rows hold a token of which span, epoch by epoch.

        Args:
            spans: Parts of documents.
            rows: How many rows count.

        Yields:
            The index of a span, and a row.
        """
        for epoch in range(-(-rows * self.context // self.source.num_tokens)):
            documents, ends = self._order(epoch)
            rank = np.empty_like(documents)
            rank[documents] = np.arange(len(documents))
            for index, (document, start, stop) in enumerate(spans):
                begin = int(ends[rank[document]]) - int(self.source.lengths[document]) + epoch * self.source.num_tokens
                last = (begin + stop - 1) // self.context
                yield from ((index, row) for row in range((begin + start) // self.context, min(last + 1, rows)))

    def _fill(self, filler: RowFiller, epoch: int, offset: int) -> int:
        """Add pieces from token `offset` of an epoch until row or epoch ends. Returns how many tokens."""
        documents, ends = self._order(epoch)
        before, place = filler.filled, int(np.searchsorted(ends, offset, side="right"))
        while filler.filled < self.context and place < len(documents):
            document = int(documents[place])
            length = int(self.source.lengths[document])
            start = offset + (filler.filled - before) - (int(ends[place]) - length)
            stop = min(length, start + self.context - filler.filled)
            ids = self.source.read(document, start, stop + 1)
            labels = np.full(stop - start, IGNORE, np.int64)
            labels[: len(ids) - 1] = ids[1:]
            filler.add(ids[: stop - start], labels, self.cut)
            place += 1
        return filler.filled - before

    def _order(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if epoch not in self._orders:
            count = len(self.source)
            order = np.arange(count) if self.seed is None else shuffled(count, self.seed, self.source.name, epoch)
            # A row may reach over the end of an epoch, and workers see neighbouring rows out of order: keep
            # two.
            self._orders = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1}
            self._orders[epoch] = (order, np.cumsum(self.source.lengths[order]))
        return self._orders[epoch]
