"""Documents packed into rows, and the part of their tokens that one context rank holds.

Legend: B rows, T tokens of a row, C context ranks, L = T / C tokens of a rank.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents of whole rows; carries what attention back ends read off the segments of a batch.

    Attributes:
        lengths: tokens of each document, row after row.
        rows: B.
        device: of the tensors below.
    """

    lengths: tuple[int, ...]
    rows: int
    device: torch.device

    @classmethod
    def of_positions(cls, position_ids_BT: Tensor) -> "Documents":
        """Cut where positions restart at 0, and at every row.

        Args:
            position_ids_BT: [B, T] int64.
        """
        starts_BT = position_ids_BT == 0
        starts_BT[:, 0] = True
        starts = starts_BT.flatten().nonzero().flatten().tolist()
        bounds = [*starts, position_ids_BT.numel()]
        lengths = tuple(end - start for start, end in pairwise(bounds))
        return cls(lengths, len(position_ids_BT), position_ids_BT.device)

    @property
    def is_whole_rows(self) -> bool:
        """Whether every row is one document."""
        return len(self.lengths) == self.rows

    @property
    def max_length(self) -> int:
        """Tokens of the longest document."""
        return max(self.lengths)

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """Cumulative lengths from 0, [documents + 1] int32."""
        ends = torch.tensor((0, *self.lengths), dtype=torch.int32).cumsum(0, dtype=torch.int32)
        return ends.to(self.device)

    @cached_property
    def document_ids(self) -> Tensor:
        """Index of the document of each token, [B, T] int64."""
        lengths = torch.tensor(self.lengths, device=self.device)
        ids = torch.arange(len(self.lengths), device=self.device)
        return ids.repeat_interleave(lengths).unflatten(0, (self.rows, -1))


@dataclass(frozen=True, eq=False)
class SplitDocuments:
    """What travels to attention instead of the segments: all documents, and which tokens are here.

    Attributes:
        whole: documents of the whole rows.
        tokens_L: [L] int64, index in the row of each local token.
        order_T: [T] int64, where each token of a row stands when the ranks' tokens are joined in order of rank.
    """

    whole: Documents
    tokens_L: Tensor  # noqa: N815
    order_T: Tensor  # noqa: N815

    @property
    def max_length(self) -> int:
        """Tokens of the longest document, before it was split."""
        return self.whole.max_length


def zigzag(tokens: int, ranks: int, rank: int, device: torch.device | None = None) -> Tensor:
    """Tokens of one rank: the ``rank``-th of 2 x ``ranks`` chunks from the front and from the back.

    Args:
        tokens: T, a multiple of 2 x ``ranks``.
        ranks: C.
        rank: index of the rank.
        device: of the result.

    Returns:
        [T / C] int64, ascending.

    Raises:
        ValueError: T does not divide.
    """
    if tokens % (2 * ranks):
        raise ValueError(
            f"rows of {tokens} tokens do not split into 2 x context={ranks} chunks; set phase.context to a multiple "
            f"of {2 * ranks} or layout.context to a divisor of {tokens // 2}."
        )
    chunks = torch.arange(tokens, device=device).chunk(2 * ranks)
    return torch.cat((chunks[rank], chunks[2 * ranks - 1 - rank]))


def joined_order(tokens: int, ranks: int, device: torch.device | None = None) -> Tensor:
    """Where token t of a row stands after the ranks' tokens were concatenated, [T] int64."""
    return torch.cat([zigzag(tokens, ranks, rank, device) for rank in range(ranks)]).argsort()
