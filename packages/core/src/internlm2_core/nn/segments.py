"""Where packed documents begin and end.

Rows of a batch hold several documents one after the other. Attention stays inside a document, and a document never
crosses a row: the [B, T] batch is read as one line of B*T tokens, cut at every document start.
"""

from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from internlm2_core.nn.uncompiled import uncompiled


class Segments:
    """Documents of a batch of B rows of T tokens, read row by row.

    It is not a dataclass, which FSDP would copy before each block without what is cached.

    Args:
        lengths: Tokens of each document. They add up to B * T.
        rows: Rows B.
        device: Where ``cu_seqlens`` is wanted.

    Attributes:
        is_whole_rows: Whether every row is exactly one document. It is a plain value, since compiled code asks for it
            and must not depend on the number of documents.
    """

    def __init__(self, lengths: tuple[int, ...], rows: int, device: torch.device) -> None:
        self.lengths, self.rows, self.device = lengths, rows, device
        self.is_whole_rows = len(lengths) == rows

    # Where documents begin depends on the data, which compiled code cannot follow.
    @classmethod
    @uncompiled
    def of_positions(cls, position_ids_BT: Tensor) -> "Segments":
        """Cut where positions restart at 0, and at every row.

        Args:
            position_ids_BT: Positions, [B, T] int64.
        """
        B, T = position_ids_BT.shape
        starts_BT = position_ids_BT == 0
        starts_BT[:, 0] = True
        starts = starts_BT.flatten().nonzero().flatten().tolist()
        bounds = [*starts, B * T]
        lengths = tuple(end - start for start, end in pairwise(bounds))
        return cls(lengths, B, position_ids_BT.device)

    @classmethod
    def whole_rows(cls, rows: int, tokens: int, device: torch.device) -> "Segments":
        """Each of ``rows`` rows is one document of ``tokens`` tokens."""
        return cls((tokens,) * rows, rows, device)

    @property
    def max_length(self) -> int:
        """Tokens of the longest document."""
        return max(self.lengths)

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """Cumulative document lengths from 0, [documents + 1] int32, as variable-length kernels want them."""
        ends = torch.tensor((0, *self.lengths), dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return ends.to(self.device, non_blocking=True)

    @cached_property
    def document_ids(self) -> Tensor:
        """Index of the document of each token, [B, T] int64."""
        lengths = torch.tensor(self.lengths, device=self.device)
        return (
            torch.arange(len(self.lengths), device=self.device).repeat_interleave(lengths).unflatten(0, (self.rows, -1))
        )

    @property
    def lengths_of_tokens(self) -> Tensor:
        """Tokens of the document of each token, [B, T] int64."""
        return torch.tensor(self.lengths, device=self.device)[self.document_ids]
