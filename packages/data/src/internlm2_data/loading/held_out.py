"""Held-out text in order, each token once."""

from dataclasses import dataclass
from pathlib import Path

from internlm2_data.loading.loader import Loader
from internlm2_data.loading.passes import Shuffled
from internlm2_data.loading.token_rows import TokenRows
from internlm2_data.tokens.token_file import TokenSource


@dataclass(frozen=True)
class HeldOutBatches:
    """One pass over a token file in stored order. The end of the last row, and missing rows, are padding.

    Attributes:
        source: The held-out documents.
        context: Tokens of a row.
        batch_rows: Rows of a batch over all ranks.
        max_rows: Stop after this many rows. None reads all.
    """

    source: TokenSource | str | Path
    context: int
    batch_rows: int
    max_rows: int | None = None

    def loader(self, dp_rank: int = 0, dp_size: int = 1, num_workers: int = 0) -> Loader:
        """A fresh loader for one data-parallel rank. See `Loader`."""
        source = self.source if isinstance(self.source, TokenSource) else TokenSource(self.source)
        rows = TokenRows(source, self.context, self.context, seed=None)
        count = len(rows) if self.max_rows is None else min(len(rows), self.max_rows)
        return Loader(Shuffled(count, seed=None), [rows], self.context, self.batch_rows, dp_rank, dp_size, num_workers)
