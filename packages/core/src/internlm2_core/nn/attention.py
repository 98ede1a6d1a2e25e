"""Grouped-query attention with the fused, interleaved projection of InternLM2 (report section 2.2).

The rows of ``wqkv`` come per kv group: its query heads, its key head, its value head. A tensor-parallel degree that
divides the groups is then changed by cutting or joining rows, and the number of local groups is read off the weight.
What mixes tokens is ``attend``, a module without weights that a strategy may replace.

Legend: B rows, T tokens, D width, N query heads, G kv groups, Q query heads per group, H head width.
"""

from torch import Tensor, nn

from internlm2_core.nn.cache import LayerCache
from internlm2_core.nn.rope import Rotation, rotate
from internlm2_core.nn.segments import Segments


class Attention(nn.Module):
    """Attention over the documents of a batch, or over a cache.

    Args:
        dim: Width D.
        num_kv_heads: Key/value groups G.
        q_per_kv: Query heads per group Q.
        head_dim: Head width H.
        attend: Called ``attend(q_BTNH, k_BTGH, v_BTGH, segments) -> out_BTNH``: causal, inside documents.
    """

    def __init__(self, dim: int, *, num_kv_heads: int, q_per_kv: int, head_dim: int, attend: nn.Module) -> None:
        super().__init__()
        self.q_per_kv, self.head_dim, self.attend = q_per_kv, head_dim, attend
        self.wqkv = nn.Linear(dim, num_kv_heads * (q_per_kv + 2) * head_dim, bias=False)
        self.wo = nn.Linear(num_kv_heads * q_per_kv * head_dim, dim, bias=False)

    def project(self, x_BTD: Tensor) -> Tensor:
        """Queries, keys and values of each group side by side, [B, T, G, Q + 2, H]."""
        return self.wqkv(x_BTD).unflatten(-1, (-1, self.q_per_kv + 2, self.head_dim))

    def forward(
        self,
        x_BTD: Tensor,
        rotation: Rotation,
        segments: Segments,
        cache: LayerCache | None = None,
        places_N: Tensor | None = None,
    ) -> Tensor:
        """Mix tokens.

        Args:
            x_BTD: Normed states, [B, T, D].
            rotation: Cosine and sine of `Rope`.
            segments: The documents of the batch.
            cache: Keys and values of earlier tokens, extended in place. ``segments`` is not read then.
            places_N: Indices into the B * T tokens, [N] int64, where the result is wanted. None wants it everywhere.

        Returns:
            What is added to the residual stream, [B, T, D], or [1, N, D] at the places.
        """
        qkv_BTGPH = self.project(x_BTD)
        # Queries and keys of a group lie side by side, so one rotation turns both. Split, not sliced: the backward pass
        # of a slice pads with zeros and adds.
        qk_BTGPH, v_BTG1H = qkv_BTGPH.split((self.q_per_kv + 1, 1), dim=-2)
        turned = rotate(qk_BTGPH.flatten(2, 3), *rotation).unflatten(2, (-1, self.q_per_kv + 1))
        q_BTGQH, k_BTG1H = turned.split((self.q_per_kv, 1), dim=-2)
        q_BTNH, k_BTGH, v_BTGH = q_BTGQH.flatten(2, 3), k_BTG1H.squeeze(-2), v_BTG1H.squeeze(-2)
        if cache is None:
            out_BTNH = self.attend(q_BTNH, k_BTGH, v_BTGH, segments)
        else:
            out_BTNH = cache.attend(q_BTNH, k_BTGH, v_BTGH)
        out_BTC = out_BTNH.flatten(2)
        return self.wo(out_BTC if places_N is None else at_places(out_BTC, places_N))


def at_places(x_BTC: Tensor, places_N: Tensor) -> Tensor:
    """Some tokens of a batch as one row, [1, N, C].

    Args:
        x_BTC: A vector of each token, [B, T, C].
        places_N: Indices into the B * T tokens, [N] int64.
    """
    return x_BTC.flatten(0, 1).index_select(0, places_N)[None]
