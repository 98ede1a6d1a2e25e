"""Documents of one token file packed whole into rows (best-fit, arXiv 2404.10830).

A document longer than a row is cut into pieces of a row and a remainder. Pieces are packed once. Each epoch gives the
rows in a new order. The end of a row that nothing fits into is padding.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from internlm2_data.loading.document_rows import DocumentRows
from internlm2_data.loading.order import shuffled
from internlm2_data.loading.packing import packed
from internlm2_data.loading.rows import Span
from internlm2_data.tokens.token_file import TokenSource


class FittedRows(DocumentRows):
    """Rows of one source.

    Args:
        source: The documents.
        context: Tokens of a row.
        cut: No piece of a document is longer than this (positions restart). `context` for no further cut.
        seed: Of the order.
    """

    def __init__(self, source: TokenSource, context: int, cut: int, seed: int) -> None:
        super().__init__(source, context, cut)
        self.seed = seed
        counts = -(-source.lengths // context)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._document = np.repeat(np.arange(len(source)), counts)
        self._start = (np.arange(self._first[-1]) - self._first[self._document]) * context
        lengths = np.minimum(source.lengths[self._document] - self._start, context)
        self._packing = packed(lengths, context, shuffled(len(lengths), seed, source.name, "pieces"))
        self._orders: dict[int, npt.NDArray[np.int64]] = {}

    def __len__(self) -> int:
        """Rows of an epoch."""
        return self._packing.rows

    @property
    def pass_tokens(self) -> int:
        """Tokens of the rows of an epoch, padding included."""
        return len(self) * self.context

    def given(self, rows: int) -> npt.NDArray[np.int64]:
        """See `DocumentRows`."""
        if rows >= len(self):
            return np.arange(len(self.source))
        pieces = [self._packing.row(row) for row in self._order(0)[:rows].tolist()]
        return np.unique(self._document[np.concatenate(pieces)]) if pieces else np.empty(0, np.int64)

    def rows_of(self, spans: Sequence[Span], rows: int) -> Iterator[tuple[int, int]]:
        """See `DocumentRows`."""
        for epoch in range(-(-rows // len(self))):
            order = self._order(epoch)
            place = np.empty_like(order)
            place[order] = np.arange(len(order)) + epoch * len(self)
            for index, (document, start, stop) in enumerate(spans):
                first = int(self._first[document])
                pieces = slice(first + start // self.context, first + (stop - 1) // self.context + 1)
                found = place[self._packing.row_of[pieces]].tolist()
                yield from ((index, row) for row in found if row < rows)

    def parts(self, index: int) -> list[Span]:
        """See `DocumentRows`."""
        epoch, place = divmod(index, len(self))
        pieces = self._packing.row(int(self._order(epoch)[place]))
        starts, documents = self._start[pieces], self._document[pieces]
        stops = np.minimum(starts + self.context, self.source.lengths[documents])
        return list(map(Span, documents.tolist(), starts.tolist(), stops.tolist()))

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1}
            self._orders[epoch] = shuffled(len(self), self.seed, self.source.name, "rows", epoch)
        return self._orders[epoch]
