"""Query, key and value projections as three matrices instead of one, for comparison.

Checkpoints stay in the released layout: what is saved is joined again (`internlm2_core.checkpoint.released`).

Legend: D width, G kv groups, Q query heads per group, H head width.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from internlm2_core.nn.attention import Attention
from internlm2_core.nn.init import NamedTensors
from internlm2_core.nn.language_model import LanguageModel

PARTS = ("wq", "wk", "wv")


def split_wqkv(wqkv: Tensor, q_per_kv: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """Interleaved rows to query, key and value matrices.

    Args:
        wqkv: The fused matrix, [G * (Q + 2) * H, D].
        q_per_kv: Query heads per group Q.
        head_dim: Head width H.

    Returns:
        Query, key and value matrix: [G*Q*H, D], [G*H, D], [G*H, D].
    """
    rows = wqkv.unflatten(0, (-1, q_per_kv + 2, head_dim))
    return rows[:, :-2].flatten(0, 2), rows[:, -2].flatten(0, 1), rows[:, -1].flatten(0, 1)


def join_wqkv(q: Tensor, k: Tensor, v: Tensor, q_per_kv: int, head_dim: int) -> Tensor:
    """The inverse of `split_wqkv`.

    Args:
        q: Query matrix, [G*Q*H, D].
        k: Key matrix, [G*H, D].
        v: Value matrix, [G*H, D].
        q_per_kv: Query heads per group Q.
        head_dim: Head width H.

    Returns:
        The fused matrix, [G * (Q + 2) * H, D].
    """
    q = q.unflatten(0, (-1, q_per_kv, head_dim))
    k, v = (x.unflatten(0, (-1, 1, head_dim)) for x in (k, v))
    return torch.cat((q, k, v), dim=1).flatten(0, 2)


class SplitAttention(Attention):
    """Attention with ``wq``, ``wk`` and ``wv``. It is made from a fused one, whose other weights it shares.

    Args:
        fused: The attention to take over.
    """

    wq: nn.Linear
    wk: nn.Linear
    wv: nn.Linear

    def __init__(self, fused: Attention) -> None:
        nn.Module.__init__(self)
        self.q_per_kv, self.head_dim, self.attend, self.wo = fused.q_per_kv, fused.head_dim, fused.attend, fused.wo
        parts = split_wqkv(fused.wqkv.weight.detach(), self.q_per_kv, self.head_dim)
        for name, part in zip(PARTS, parts, strict=True):
            matrix = nn.Linear(part.shape[1], part.shape[0], bias=False, device="meta")
            matrix.weight = nn.Parameter(part.contiguous())
            setattr(self, name, matrix)

    def project(self, x_BTD: Tensor) -> Tensor:
        """Queries, keys and values of each group side by side, [B, T, G, Q + 2, H]."""
        q = self.wq(x_BTD).unflatten(-1, (-1, self.q_per_kv, self.head_dim))
        k, v = (w(x_BTD).unflatten(-1, (-1, 1, self.head_dim)) for w in (self.wk, self.wv))
        return torch.cat((q, k, v), dim=-2)


def split_projections(net: LanguageModel) -> None:
    """Give every block a `SplitAttention`, in place."""
    for block in net.model.layers:
        block.attention = SplitAttention(block.attention)  # type: ignore[arg-type]
    if (whole := net.initial_weights) is not None:
        net.initial_weights = lambda: separated(whole(), net.size.q_per_kv, net.size.head_dim)


def separated(tensors: NamedTensors, q_per_kv: int, head_dim: int) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors with each ``wqkv`` as three matrices.

    Args:
        tensors: Names and tensors. Those without ``wqkv`` pass.
        q_per_kv: Query heads per group Q.
        head_dim: Head width H.
    """
    for name, tensor in tensors:
        prefix, found, suffix = name.partition("wqkv")
        if not found:
            yield name, tensor
            continue
        for part, matrix in zip(PARTS, split_wqkv(tensor, q_per_kv, head_dim), strict=True):
            yield f"{prefix}{part}{suffix}", matrix


def joined(tensors: NamedTensors, q_per_kv: int, head_dim: int) -> Iterator[tuple[str, Tensor]]:
    """Names and tensors with the three matrices of each block joined to ``wqkv``: the inverse of `separated`.

    Args:
        tensors: Names and tensors. Others than the three matrices pass.
        q_per_kv: Query heads per group Q.
        head_dim: Head width H.
    """
    waiting: dict[str, Tensor] = {}
    for name, tensor in tensors:
        prefix, part = name.removesuffix(".weight").rpartition(".")[::2]
        if part not in PARTS:
            yield name, tensor
            continue
        waiting[part] = tensor
        if len(waiting) == len(PARTS):
            q, k, v = (waiting.pop(part) for part in PARTS)
            yield f"{prefix}.wqkv.weight", join_wqkv(q, k, v, q_per_kv, head_dim)
