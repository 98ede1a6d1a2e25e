"""Attention by torch's scaled_dot_product_attention, the fastest correct path on CPU.

Documents are sorted into groups of like length; a group is padded at its end to its longest member and computed in one
causal call. Padding stands after every real token, so causality alone hides it and no mask is needed.

    row 0: aaaa bb c        group 1: aaaa    group 2: bb
    row 1: dddd eee    ->            dddd             c.
                                     eee.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internlm2_core.nn.segments import Segments

MAX_WASTE = 0.25
"""Padding allowed in a group, as a share of its tokens (chosen by tests/benchmarks/core/bench_packed.py)."""


def causal(q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor) -> Tensor:
    """Plain causal attention of whole rows, [B, T, N, H]."""
    q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTGH, v_BTGH))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True).transpose(1, 2)


def groups_of_like_length(lengths: tuple[int, ...]) -> Iterator[list[int]]:
    """Indices of documents by descending length, cut where padding would exceed :data:`MAX_WASTE`."""
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
    yield group


@dataclass(frozen=True)
class Grouping:
    """Which tokens each call reads, and where its results stand.

    Attributes:
        reads: for each group, token indices [documents, longest]; padding reads the document's last token.
        restore: [tokens] place of each token in the groups' results, laid end to end.
    """

    reads: tuple[Tensor, ...]
    restore: Tensor


# All blocks of a network group the same documents.
@lru_cache(maxsize=8)
def grouping(lengths: tuple[int, ...]) -> Grouping:
    """Group the documents of a batch, on CPU."""
    sizes = torch.tensor(lengths)
    starts = sizes.cumsum(0) - sizes
    reads, places, results = [], [], 0
    for group in groups_of_like_length(lengths):
        offsets = torch.arange(lengths[group[0]])
        own_starts, own_sizes = starts[group, None], sizes[group, None]
        read = own_starts + offsets.minimum(own_sizes - 1)
        reads.append(read)
        is_real = (offsets < own_sizes).flatten()
        places.append(torch.stack((read.flatten()[is_real], results + is_real.nonzero().flatten())))
        results += read.numel()
    tokens, where = torch.cat(places, dim=1)
    return Grouping(tuple(reads), where[tokens.argsort()])


class SDPAttend(nn.Module):
    """Groups of documents of like length, one call a group."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        if segments.is_whole_rows:
            return causal(q_BTNH, k_BTGH, v_BTGH)
        return self._by_groups(q_BTNH, k_BTGH, v_BTGH, segments)

    # Documents differ from batch to batch: compiled, each batch would be a program of its own.
    @torch.compiler.disable
    def _by_groups(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        q, k, v = (x.flatten(0, 1) for x in (q_BTNH, k_BTGH, v_BTGH))
        groups = grouping(segments.lengths)
        reads = (read.to(q.device) for read in groups.reads)
        out = torch.cat([causal(q[read], k[read], v[read]).flatten(0, 1) for read in reads])
        return out.index_select(0, groups.restore.to(q.device)).unflatten(0, q_BTNH.shape[:2])
