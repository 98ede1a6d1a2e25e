"""Attention over tokens that are spread over ranks: three replacements of the weightless ``attend``.

Each is called ``attend(q_BLNH, k_BLGH, v_BLGH, segments) -> out_BLNH`` with local tokens and a `SplitDocuments`.

Legend: B rows, T tokens of a row, L local tokens, N query heads, G kv heads, Q query heads per kv head, H head width.
"""

import math
from typing import Literal

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from internlm2_parallel.context.collectives import Group, exchange, gather, pass_on
from internlm2_parallel.context.documents import SplitDocuments, zigzag

ContextAttention = Literal["gather", "ulysses", "ring"]


class OverRanks(nn.Module):
    """A replacement of ``attend`` that talks to the context ranks.

    Args:
        group: The context ranks.
        inner: The attention that the network came with.
    """

    def __init__(self, group: Group, inner: nn.Module) -> None:
        super().__init__()
        self.group, self.inner = group, inner


class GatherAttend(OverRanks):
    """Own queries against everybody's keys and values."""

    def forward(self, q_BLNH: Tensor, k_BLGH: Tensor, v_BLGH: Tensor, segments: SplitDocuments) -> Tensor:
        """Causal attention inside documents, one call per chunk: a chunk needs no key behind its last token."""
        kv = gather(torch.stack((k_BLGH, v_BLGH)), 2, self.group).index_select(2, segments.order_T)
        documents_BT = segments.whole.document_ids
        parts = []
        for q, tokens in zip(q_BLNH.chunk(2, 1), segments.tokens_L.chunk(2), strict=True):
            end = int(tokens[-1]) + 1
            mask = _visible(tokens, torch.arange(end, device=q.device), documents_BT)
            query, key, value = (x.transpose(1, 2) for x in (q, kv[0, :, :end], kv[1, :, :end]))
            out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None], enable_gqa=True)
            parts.append(out.transpose(1, 2))
        return torch.cat(parts, 1)


class UlyssesAttend(OverRanks):
    """All tokens of some heads, through the network's own attention."""

    def forward(self, q_BLNH: Tensor, k_BLGH: Tensor, v_BLGH: Tensor, segments: SplitDocuments) -> Tensor:
        """Heads to ranks, attention over whole rows, tokens back to ranks. Kv heads are repeated to fill the ranks.

        Raises:
            ValueError: If the query heads do not divide.
        """
        ranks, N, G = dist.get_world_size(self.group), q_BLNH.shape[2], k_BLGH.shape[2]
        if N % ranks:
            raise ValueError(
                f"{N} query heads must divide over context={ranks} ranks under ulysses attention. Use gather or "
                "ring, or a number of ranks that divides them."
            )
        repeats = ranks // math.gcd(G, ranks)
        kv = (x.repeat_interleave(repeats, 2) if repeats > 1 else x for x in (k_BLGH, v_BLGH))
        whole = [exchange(x, 2, 1, self.group).index_select(1, segments.order_T) for x in (q_BLNH, *kv)]
        out_BTNH = self.inner(*whole, segments.whole).index_select(1, segments.order_T.argsort())
        return exchange(out_BTNH, 1, 2, self.group)


class RingAttend(OverRanks):
    """Keys and values travel round, and partial results are merged by their log-sum-exp.

    Scores live one block at a time.
    """

    def forward(self, q_BLNH: Tensor, k_BLGH: Tensor, v_BLGH: Tensor, segments: SplitDocuments) -> Tensor:
        """Causal attention inside documents."""
        rank, ranks = dist.get_rank(self.group), dist.get_world_size(self.group)
        T, documents_BT = len(segments.order_T), segments.whole.document_ids
        kv = torch.stack((k_BLGH, v_BLGH))
        merged: tuple[Tensor, Tensor] | None = None
        for step in range(ranks):
            keys = zigzag(T, ranks, (rank - step) % ranks, q_BLNH.device)
            mask = _visible(segments.tokens_L, keys, documents_BT)
            block = checkpoint(block_attention, q_BLNH, kv[0], kv[1], mask, use_reentrant=False)
            merged = block if merged is None else merge(merged, block)
            if step < ranks - 1:
                kv = pass_on(kv, 1, self.group)
        assert merged is not None
        return merged[0].to(q_BLNH.dtype)


def _visible(queries: Tensor, keys: Tensor, documents_BT: Tensor) -> Tensor:
    """Which key each query may see: not behind it, and of its document, [B, queries, keys] bool."""
    same = documents_BT[:, queries, None] == documents_BT[:, None, keys]
    return same & (queries[:, None] >= keys)


def block_attention(q_BLNH: Tensor, k_BSGH: Tensor, v_BSGH: Tensor, mask_BLS: Tensor) -> tuple[Tensor, Tensor]:
    """Attention over one block of keys, with what is needed to merge it.

    Args:
        q_BLNH: Local queries, [B, L, N, H].
        k_BSGH: Keys of the block, [B, S, G, H].
        v_BSGH: Values of the block, [B, S, G, H].
        mask_BLS: Which key each query may see, [B, L, S] bool.

    Returns:
        Output [B, L, N, H] and log-sum-exp of the scores [B, L, N], both fp32. A query without any visible key gets
        zeros and the lowest finite number.
    """
    q_BLGQH = q_BLNH.unflatten(2, (k_BSGH.shape[2], -1)).float()
    scores = torch.einsum("blgqh,bsgh->blgqs", q_BLGQH, k_BSGH.float()) / math.sqrt(q_BLNH.shape[-1])
    lowest = torch.finfo(torch.float32).min
    scores = scores.masked_fill(~mask_BLS[:, :, None, None], lowest)
    weights = scores.softmax(-1) * mask_BLS[:, :, None, None]
    out = torch.einsum("blgqs,bsgh->blgqh", weights, v_BSGH.float())
    return out.flatten(2, 3), scores.logsumexp(-1).flatten(2, 3)


def merge(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Attention over the union of two blocks of keys from the attention over each.

    Args:
        a: Output and log-sum-exp of one block, see `block_attention`.
        b: Those of another.
    """
    total = torch.logaddexp(a[1], b[1])
    share_a, share_b = (a[1] - total).exp()[..., None], (b[1] - total).exp()[..., None]
    return a[0] * share_a + b[0] * share_b, total


def context_attend(kind: ContextAttention, group: Group, inner: nn.Module) -> nn.Module:
    """The replacement of that name.

    Args:
        kind: Name of the replacement.
        group: The context ranks.
        inner: The attention that the network came with.

    Raises:
        ValueError: If the name is unknown.
    """
    if kind == "gather":
        return GatherAttend(group, inner)
    if kind == "ulysses":
        return UlyssesAttend(group, inner)
    if kind == "ring":
        return RingAttend(group, inner)
    raise ValueError(f"context={kind!r} must be one of gather, ulysses, ring.")
