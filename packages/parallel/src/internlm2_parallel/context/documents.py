"""Documents packed into rows, and the part of their tokens that one context rank holds.

Legend: B rows, T tokens of a row, C context ranks, L = T / C tokens of a rank.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Documents(Protocol):
    """What the network's attention gets as ``segments``, as far as this package reads it."""

    @property
    def document_ids(self) -> Tensor:
        """Index of the document of each token, [B, T] int64."""


@dataclass(frozen=True, eq=False)
class SplitDocuments:
    """What travels to attention instead of the segments: all documents, and which tokens are here.

    Attributes:
        whole: Documents of the whole rows.
        tokens_L: [L] int64, index in the row of each local token.
        order_T: [T] int64, place of each token of a row when the ranks' tokens are joined in order of rank.
    """

    whole: Documents
    tokens_L: Tensor  # noqa: N815
    order_T: Tensor  # noqa: N815

    @property
    def lengths_of_tokens(self) -> Tensor:
        """Tokens of the document of each local token, before it was split, [B, L] int64."""
        ids_BT = self.whole.document_ids
        return ids_BT.flatten().bincount()[ids_BT[:, self.tokens_L]]


def zigzag(tokens: int, ranks: int, rank: int, device: torch.device | None = None) -> Tensor:
    """Tokens of one rank: the ``rank``-th of 2 x ``ranks`` chunks from the front and from the back.

    Args:
        tokens: T, a multiple of 2 x ``ranks``.
        ranks: C.
        rank: Index of the rank.
        device: Device of the result.

    Returns:
        [T / C] int64, ascending.

    Raises:
        ValueError: If T does not divide.
    """
    if tokens % (2 * ranks):
        raise ValueError(
            f"Rows of {tokens} tokens must split into 2 x context={ranks} chunks. Their length must be a multiple of "
            f"{2 * ranks}, or context a divisor of {tokens // 2}."
        )
    chunks = torch.arange(tokens, device=device).chunk(2 * ranks)
    return torch.cat((chunks[rank], chunks[2 * ranks - 1 - rank]))


def joined_order(tokens: int, ranks: int, device: torch.device | None = None) -> Tensor:
    """Place of each token of a row after the ranks' tokens were concatenated.

    Args:
        tokens: T, a multiple of 2 x ``ranks``.
        ranks: C.
        device: Device of the result.

    Returns:
        [T] int64.
    """
    return torch.cat([zigzag(tokens, ranks, rank, device) for rank in range(ranks)]).argsort()
