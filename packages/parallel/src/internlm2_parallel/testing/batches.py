"""Batches of packed rows, drawn on the fly."""

from collections.abc import Iterator

import torch
from torch import Tensor


class TinyBatches:
    """Loader of global batches of packed rows, the share of one data-parallel rank. Its state is one number.

    Args:
        rank: Index of the share.
        size: Number of shares. It divides ``rows``.
        steps: Number of batches.
        rows: Rows of the global batch.
        tokens: T.
        vocab_size: Ids are below it.
    """

    def __init__(
        self, rank: int, size: int, steps: int = 6, rows: int = 8, tokens: int = 32, vocab_size: int = 96
    ) -> None:
        self.rank, self.size, self.steps, self.rows = rank, size, steps, rows
        self.tokens, self.vocab_size, self.done = tokens, vocab_size, 0

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        while self.done < self.steps:
            self.done += 1
            yield self.batch(self.done - 1)
        self.done = 0

    def state_dict(self) -> dict[str, int]:
        """Batches handed out."""
        return {"done": self.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Continue there."""
        self.done = state["done"]

    def batch(self, step: int) -> dict[str, Tensor]:
        """Batch ``step``: about a tenth of the tokens begin a document, a fifth carry no loss."""
        generator = torch.Generator().manual_seed(1000 + step)
        ids = torch.randint(0, self.vocab_size, (self.rows, self.tokens + 1), generator=generator)
        starts = torch.rand(self.rows, self.tokens, generator=generator) < 0.1
        starts[:, 0] = True
        index = torch.arange(self.tokens).expand(self.rows, -1)
        positions = index - torch.where(starts, index, 0).cummax(1).values
        silent = torch.rand(self.rows, self.tokens, generator=generator) < 0.2
        labels = ids[:, 1:].masked_fill(silent, -100)
        share = slice(self.rank * self.rows // self.size, (self.rank + 1) * self.rows // self.size)
        return {"input_ids": ids[share, :-1], "labels": labels[share], "position_ids": positions[share]}


def split(batch: dict[str, Tensor], parts: int) -> Iterator[dict[str, Tensor]]:
    """Cut a batch into equal micro-batches.

    Args:
        batch: Tensors of the same rows.
        parts: Number of micro-batches.
    """
    rows = len(batch["input_ids"]) // parts
    for index in range(parts):
        yield {name: value[index * rows : (index + 1) * rows] for name, value in batch.items()}
