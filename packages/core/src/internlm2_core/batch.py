"""What a training batch is: the keys that core reads, whoever made them, and how it is cut and counted."""

from collections.abc import Iterator
from typing import TypedDict

from torch import Tensor

IGNORE = -100
"""Label of a position that carries no loss."""


class Batch(TypedDict):
    """Packed rows of token ids. B rows, T tokens a row.

    Attributes:
        input_ids: [B, T] int64.
        labels: [B, T] int64, already shifted: the token after ``input_ids[b, t]``, or -100 where there is no loss.
        position_ids: [B, T] int64, restarting at 0 at every document packed into the row.
    """

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor


def divisor(tokens: Tensor) -> Tensor:
    """A count to divide a sum of losses by. No tokens divide a sum of 0 by 1.

    Args:
        tokens: Loss tokens, any shape [...].
    """
    return tokens.where(tokens > 0, 1)


def split_rows(batch: Batch, rows: int) -> Iterator[Batch]:
    """Cut a batch into micro-batches. The last may be smaller.

    Args:
        batch: Packed rows.
        rows: Rows of a micro-batch. 0 gives the batch itself.
    """
    if rows <= 0 or rows >= len(batch["input_ids"]):
        yield batch
        return
    pieces = {name: value.split(rows) for name, value in batch.items() if isinstance(value, Tensor)}
    for values in zip(*pieces.values(), strict=True):
        yield dict(zip(pieces, values, strict=True))  # type: ignore[misc]
