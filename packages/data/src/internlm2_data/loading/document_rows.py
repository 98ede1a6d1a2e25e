"""What rows of one token file have in common, whichever way documents fill them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.loading.rows import Row, Span, filled_row
from internlm2_data.stores import is_remote
from internlm2_data.tokens.manifests import Manifest
from internlm2_data.tokens.token_file import TokenSource


class DocumentRows(ABC):
    """Rows of one token file. A `RowSource` that knows which document is where.

    Args:
        source: The documents.
        context: Tokens of a row.
        cut: No piece of a document is longer than this (positions restart). `context` for no further cut.
    """

    def __init__(self, source: TokenSource, context: int, cut: int) -> None:
        self.source, self.context, self.cut = source, context, cut

    @property
    def name(self) -> str:
        """The token file."""
        return self.source.stem

    @property
    def manifest(self) -> Manifest:
        """See `RowSource`."""
        return self.source.manifest

    def row(self, index: int) -> Row:
        """Row `index` of the endless stream."""
        return filled_row(self.source, self.parts(index), self.context, self.cut)

    @property
    def is_in_store(self) -> bool:
        """Whether tokens have to be fetched from a store."""
        return is_remote(self.source.stem)

    def fetch(self, rows: Sequence[int]) -> None:
        """Have rows of a store here that are about to be read.

        Args:
            rows: Their indices.
        """
        spans = [span for row in rows for span in self.parts(row)]
        # A label is the token behind a part.
        self.source.fetch([(document, start, stop + 1) for document, start, stop in spans])

    def ids(self, document: int) -> npt.NDArray[Any]:
        """Ids of a document, [n]."""
        return self.source.read(document)

    @abstractmethod
    def __len__(self) -> int:
        """Rows of an epoch."""

    @property
    @abstractmethod
    def pass_tokens(self) -> int:
        """Tokens of the rows of an epoch, padding included."""

    @abstractmethod
    def parts(self, index: int) -> list[Span]:
        """Documents that row `index` holds, in their order, with their tokens."""

    @abstractmethod
    def given(self, rows: int) -> npt.NDArray[np.int64]:
        """Documents of which the first `rows` rows hold a part, in stored order."""

    @abstractmethod
    def rows_of(self, spans: Sequence[Span], rows: int) -> Iterator[tuple[int, int]]:
        """Which of the first rows hold a token of which span, epoch by epoch.

        Args:
            spans: Parts of documents.
            rows: How many rows count.

        Yields:
            The index of a span, and a row.
        """
