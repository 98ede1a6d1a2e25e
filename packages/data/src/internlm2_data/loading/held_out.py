"""Held-out text in order, each token once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internlm2_data.loading.loader import PassLoader
from internlm2_data.loading.mixture import Place
from internlm2_data.loading.token_rows import TokenRows
from internlm2_data.tokens.token_file import TokenSource


@dataclass(frozen=True)
class HeldOutBatches:
    """One pass over a token file in stored order; the end of the last row, and missing rows, are padding.

    Attributes:
        source: the held-out documents.
        context: tokens of a row.
        batch_rows: rows of a batch over all ranks.
        max_rows: stop after this many rows; None reads all.
    """

    source: TokenSource | str | Path
    context: int
    batch_rows: int
    max_rows: int | None = None

    def loader(self, dp_rank: int = 0, dp_size: int = 1, num_workers: int = 0) -> PassLoader:
        """A fresh loader for one data-parallel rank; see `Loader`."""
        source = self.source if isinstance(self.source, TokenSource) else TokenSource(self.source)
        rows = TokenRows(source, self.context, self.context, seed=None)
        count = len(rows) if self.max_rows is None else min(len(rows), self.max_rows)
        return PassLoader(
            InOrder(count), [rows], self.context, self.batch_rows, dp_rank, dp_size, num_workers
        )


class InOrder:
    """The plan of one pass in order; the next pass starts over."""

    def __init__(self, rows: int) -> None:
        self._rows, self._next = rows, 0

    def __len__(self) -> int:
        """Rows of a pass."""
        return self._rows

    def take(self, count: int) -> list[Place]:
        """The next places of the pass; none at its end, once."""
        places = [Place(0, row) for row in range(self._next, min(self._rows, self._next + count))]
        self._next = self._next + len(places) if places else 0
        return places

    def state_dict(self) -> dict[str, Any]:
        """The next row."""
        return {"row": self._next, "rows": self._rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the saved row."""
        if state["rows"] != self._rows:
            raise ValueError(f"the saved loader state has {state['rows']} rows a pass, this run {self._rows}")
        self._next = state["row"]
