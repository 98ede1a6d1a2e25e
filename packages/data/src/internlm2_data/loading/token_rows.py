"""The shuffled, endless stream of one token file, cut into rows.

Epoch after epoch the documents are laid end to end in a new order. Row k is tokens [k * context, (k + 1) *
context) of that. So a document longer than a row continues in the next one ("cut at 4,096, the remainder used
too", report section 3.3), nothing is ever dropped, and any row can be found without replaying those before
it.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from internlm2_data.loading.document_rows import DocumentRows
from internlm2_data.loading.order import shuffled
from internlm2_data.loading.rows import Span
from internlm2_data.tokens.token_file import TokenSource


class TokenRows(DocumentRows):
    """Rows of one source.

    Args:
        source: The documents.
        context: Tokens of a row.
        cut: No piece of a document is longer than this (positions restart); `context` for no further cut.
        seed: Of the document order. None keeps the stored order and ends after one pass (the last row is
            padded).
    """

    def __init__(self, source: TokenSource, context: int, cut: int, seed: int | None) -> None:
        super().__init__(source, context, cut)
        self.seed = seed
        self._orders: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    def __len__(self) -> int:
        """Rows of one pass, the last one perhaps partly filled."""
        return -(-self.source.num_tokens // self.context)

    @property
    def pass_tokens(self) -> int:
        """Tokens of an epoch."""
        return self.source.num_tokens

    def parts(self, index: int) -> list[Span]:
        """See `DocumentRows`."""
        found: list[Span] = []
        position, end = index * self.context, (index + 1) * self.context
        while position < end:
            epoch, offset = divmod(position, self.source.num_tokens)
            if self.seed is None and epoch:
                break
            documents, ends = self._order(epoch)
            place = int(np.searchsorted(ends, offset, side="right"))
            while position < end and place < len(documents):
                document = int(documents[place])
                length = int(self.source.lengths[document])
                start = offset - (int(ends[place]) - length)
                stop = min(length, start + end - position)
                found.append(Span(document, start, stop))
                position, offset, place = position + stop - start, offset + stop - start, place + 1
        return found

    def given(self, rows: int) -> npt.NDArray[np.int64]:
        """See `DocumentRows`."""
        epochs, rest = divmod(rows * self.context, self.source.num_tokens)
        if epochs:
            return np.arange(len(self.source))
        documents, ends = self._order(0)
        return np.sort(documents[: int(np.searchsorted(ends, rest, side="left")) + bool(rest)])

    def rows_of(self, spans: Sequence[Span], rows: int) -> Iterator[tuple[int, int]]:
        """See `DocumentRows`."""
        for epoch in range(-(-rows * self.context // self.source.num_tokens)):
            documents, ends = self._order(epoch)
            rank = np.empty_like(documents)
            rank[documents] = np.arange(len(documents))
            for index, (document, start, stop) in enumerate(spans):
                begin = int(ends[rank[document]]) - int(self.source.lengths[document]) + epoch * self.source.num_tokens
                last = (begin + stop - 1) // self.context
                yield from ((index, row) for row in range((begin + start) // self.context, min(last + 1, rows)))

    def _order(self, epoch: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        if epoch not in self._orders:
            count = len(self.source)
            order = np.arange(count) if self.seed is None else shuffled(count, self.seed, self.source.name, epoch)
            # A row may reach over the end of an epoch, and workers see neighbouring rows out of order: keep
            # two.
            self._orders = {e: o for e, o in self._orders.items() if abs(e - epoch) == 1}
            self._orders[epoch] = (order, np.cumsum(self.source.lengths[order]))
        return self._orders[epoch]
