"""Attention by torch's scaled_dot_product_attention, the fastest correct path on CPU.

Each document is one causal call on a view of the row. Only the results are copied. Documents so short that the call
costs more than copies are sorted into groups of like length. A group is padded at its end to its longest member, and
computed in one call. Padding comes after every real token, so causality alone hides it and no mask is needed.

    row 0: aaaaaaaaa bb c   calls: aaaaaaaaa,   bb
    row 1: dddddddddd eee          dddddddddd,  c.
                                                eee
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internlm2_core.nn.segments import Segments

MAX_WASTE = 0.25
"""Padding allowed in a group, as a share of its tokens."""

SHORT = 6144
"""Numbers in the queries of a document (tokens x heads x head width) up to which it joins a group. It was measured on
one core (tests/benchmarks/core/bench_packed.py)."""


def causal(q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor) -> Tensor:
    """Plain causal attention of whole rows.

    Args:
        q_BTNH: Queries, [B, T, N, H].
        k_BTGH: Keys, [B, T, G, H].
        v_BTGH: Values, [B, T, G, H].

    Returns:
        Mixed values, [B, T, N, H].
    """
    q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTGH, v_BTGH))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)


def select(tokens: Tensor, read: Tensor) -> Tensor:
    """Tokens of a group, [documents, longest, heads, H]. The backward pass adds whole rows, unlike that of indexing.

    Args:
        tokens: All tokens of a batch, [B * T, heads, H].
        read: Indices of the group's tokens, [documents, longest] int64.
    """
    return tokens.index_select(0, read.flatten()).unflatten(0, read.shape)


def groups_of_like_length(lengths: tuple[int, ...]) -> Iterator[list[int]]:
    """Indices of documents by descending length, cut where padding would exceed `MAX_WASTE`."""
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    group: list[int] = []
    tokens = 0
    for index in order:
        longest = lengths[group[0]] if group else 0
        if group and longest * (len(group) + 1) > (1 + MAX_WASTE) * (tokens + lengths[index]):
            yield group
            group, tokens = [], 0
        group.append(index)
        tokens += lengths[index]
    if group:
        yield group


@dataclass(frozen=True)
class Grouping:
    """Which tokens each call on short documents reads, and where its results are.

    Attributes:
        reads: For each group, token indices [documents, longest]. Padding reads the document's last token.
        restore: Place of each token in the groups' results, laid end to end, [tokens of short documents].
    """

    reads: tuple[Tensor, ...]
    restore: Tensor


# All blocks of a network group the same documents. Tensors made in inference mode could not be kept for training.
@lru_cache(maxsize=8)
@torch.inference_mode(mode=False)
def grouping(lengths: tuple[int, ...], limit: int) -> Grouping | None:
    """Group the short documents of a batch, on CPU.

    Args:
        lengths: Tokens of each document.
        limit: Documents of at most so many tokens are short.

    Returns:
        The groups, or None where no document is short.
    """
    starts = [0, *accumulate(lengths)]
    short = [index for index, length in enumerate(lengths) if length <= limit]
    reads, places, results = [], [], 0
    for group in groups_of_like_length(tuple(lengths[index] for index in short)):
        members = [short[place] for place in group]
        sizes = torch.tensor([lengths[index] for index in members])[:, None]
        offsets = torch.arange(int(sizes.max()))
        read = torch.tensor([starts[index] for index in members])[:, None] + offsets.minimum(sizes - 1)
        reads.append(read)
        is_real = (offsets < sizes).flatten()
        places.append(torch.stack((read.flatten()[is_real], results + is_real.nonzero().flatten())))
        results += read.numel()
    if not reads:
        return None
    tokens, where = torch.cat(places, dim=1)
    return Grouping(tuple(reads), where[tokens.argsort()])


class SDPAttend(nn.Module):
    """Document by document, the short ones in groups."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        if segments.is_whole_rows:
            return causal(q_BTNH, k_BTGH, v_BTGH)
        return self._by_document(q_BTNH, k_BTGH, v_BTGH, segments)

    # Documents differ from batch to batch: compiled, each batch would be a program of its own.
    @torch.compiler.disable
    def _by_document(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        flat = [x.flatten(0, 1) for x in (q_BTNH, k_BTGH, v_BTGH)]
        limit = SHORT // flat[0][0].numel()
        short = self._short(flat, segments.lengths, limit)
        outs = [
            next(short) if length <= limit else causal(*(x[None] for x in document))[0]
            for length, document in zip(
                segments.lengths, zip(*(x.split(segments.lengths) for x in flat), strict=True), strict=True
            )
        ]
        return torch.cat(outs).unflatten(0, q_BTNH.shape[:2])

    def _short(self, flat: list[Tensor], lengths: tuple[int, ...], limit: int) -> Iterator[Tensor]:
        """Results of the short documents, in order."""
        groups = grouping(lengths, limit)
        if groups is None:
            return iter(())
        device = flat[0].device
        outs = [causal(*(select(x, read.to(device)) for x in flat)).flatten(0, 1) for read in groups.reads]
        tokens = torch.cat(outs).index_select(0, groups.restore.to(device))
        return iter(tokens.split([length for length in lengths if length <= limit]))
