"""What a training batch is: the keys that core reads, whoever made them."""

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
