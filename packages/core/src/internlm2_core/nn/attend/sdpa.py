"""Attention by torch's scaled_dot_product_attention, the fastest correct path on CPU.

Each document is one causal call on a view of the row. Only the results are copied. Documents so short that the call
costs more than copies are sorted into groups of like length and laid side by side. A group is then a view of one copy.
It is padded at its end to its longest member, and computed in one call. Padding comes after every real token, so
causality alone hides it and no mask is needed. Documents that all have one length are a view of the rows themselves.

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
from internlm2_core.nn.uncompiled import uncompiled

MAX_WASTE = 0.25
"""Padding allowed in a group, as a share of its tokens."""

SHORT = 16_384
"""Numbers in the queries of a document (tokens x heads x head width) up to which it joins a group: 64 tokens of 8 heads
of 32 (tests/benchmarks/core/bench_packed.py)."""


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
    """How short documents are laid side by side, and where the results of their tokens are then.

    Attributes:
        read: The token at each place, groups end to end, [places]. Padding reads the document's last token.
        shapes: Documents and longest document of each group. They make up the places.
        restore: Place of each token of the short documents in their order, [tokens of short documents].
    """

    read: Tensor
    shapes: tuple[tuple[int, int], ...]
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
    reads, shapes, places, results = [], [], [], 0
    for group in groups_of_like_length(tuple(lengths[index] for index in short)):
        members = [short[place] for place in group]
        sizes = torch.tensor([lengths[index] for index in members])[:, None]
        offsets = torch.arange(int(sizes.max()))
        read = torch.tensor([starts[index] for index in members])[:, None] + offsets.minimum(sizes - 1)
        reads.append(read.flatten())
        shapes.append((read.shape[0], read.shape[1]))
        is_real = (offsets < sizes).flatten()
        places.append(torch.stack((read.flatten()[is_real], results + is_real.nonzero().flatten())))
        results += read.numel()
    if not reads:
        return None
    tokens, where = torch.cat(places, dim=1)
    return Grouping(torch.cat(reads), tuple(shapes), where[tokens.argsort()])


class SDPAttend(nn.Module):
    """Document by document, the short ones in groups."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        if segments.is_whole_rows:
            return causal(q_BTNH, k_BTGH, v_BTGH)
        return self._by_document(q_BTNH, k_BTGH, v_BTGH, segments)

    # Documents differ from batch to batch: compiled, each batch would be a program of its own.
    @uncompiled
    def _by_document(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        flat = [x.flatten(0, 1) for x in (q_BTNH, k_BTGH, v_BTGH)]
        if len(set(segments.lengths)) == 1:
            return causal(*(x.unflatten(0, (-1, segments.lengths[0])) for x in flat)).reshape(q_BTNH.shape)
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
        read = groups.read.to(device)
        # The backward pass of index_select adds whole rows, unlike that of indexing.
        sides = [x.index_select(0, read).split([n * longest for n, longest in groups.shapes]) for x in flat]
        outs = [
            causal(*(x.unflatten(0, shape) for x in group)).flatten(0, 1)
            for shape, group in zip(groups.shapes, zip(*sides, strict=True), strict=True)
        ]
        tokens = torch.cat(outs).index_select(0, groups.restore.to(device))
        return iter(tokens.split([length for length in lengths if length <= limit]))
