"""Attention by torch's scaled_dot_product_attention, the fastest correct path on CPU.

Documents are sorted into groups of like length; a group is padded at its end to its longest member and computed in one
causal call. Padding stands after every real token, so causality alone hides it and no mask is needed.

    row 0: aaaa bb c        group 1: aaaa    group 2: bb
    row 1: dddd eee    ->            dddd             c.
                                     eee.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internlm2_core.nn.segments import Segments

MAX_WASTE = 0.25
"""Padding allowed in a group, as a share of its tokens (chosen by tests/benchmarks/packed_attention.py)."""


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


class SDPAttend(nn.Module):
    """Groups of documents of like length, one call a group."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        if segments.is_whole_rows:
            return causal(q_BTNH, k_BTGH, v_BTGH)
        B, T = q_BTNH.shape[:2]
        q, k, v = (x.flatten(0, 1) for x in (q_BTNH, k_BTGH, v_BTGH))
        starts = torch.tensor((0, *segments.lengths[:-1])).cumsum(0)
        lengths = torch.tensor(segments.lengths)
        parts, places = [], []
        for group in groups_of_like_length(segments.lengths):
            gather, is_real = group_index(starts[group], lengths[group])
            gather, is_real = gather.to(q.device), is_real.to(q.device)
            out = causal(q[gather], k[gather], v[gather])
            parts.append(out[is_real])
            places.append(gather[is_real])
        order = torch.cat(places).argsort()
        return torch.cat(parts).index_select(0, order).unflatten(0, (B, T))


def group_index(starts: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Where a padded group reads its tokens.

    Args:
        starts: [documents] first token of each document.
        lengths: [documents] its tokens.

    Returns:
        Token index [documents, longest] (padding reads the document's last token) and which entries are real.
    """
    offsets = torch.arange(int(lengths.max()))
    return starts[:, None] + offsets.minimum(lengths[:, None] - 1), offsets < lengths[:, None]
