"""Sizes of LLaMA-like networks that need no network to be counted."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """Sizes of a LLaMA-like network.

    Attributes:
        name: Short.
        layers: Blocks.
        dim: Width.
        num_kv_heads: Key and value heads.
        q_per_kv: Query heads of each.
        ffn_dim: Width of the feed-forward.
        vocab_size: Rows of embedding and head.
        head_dim: Width of a head.
    """

    name: str
    layers: int
    dim: int
    num_kv_heads: int
    q_per_kv: int
    ffn_dim: int
    vocab_size: int
    head_dim: int = 128

    def matrix_flops_per_token(self) -> float:
        """6 per weight of a matrix that is multiplied."""
        heads = self.num_kv_heads * (2 * self.q_per_kv + 2) * self.head_dim
        return 6.0 * self.dim * (self.layers * (heads + 3 * self.ffn_dim) + self.vocab_size)

    def flops_per_pair(self) -> float:
        """Scores and weighted sum, 2 operations each, three passes."""
        return 12.0 * self.layers * self.num_kv_heads * self.q_per_kv * self.head_dim

    def internevo_flops_per_token(self, context: int, recomputes: bool = False) -> float:
        """As InternEvo counts (InternLM/InternEvo, ``get_megatron_flops``).

        Args:
            context: Tokens of a row.
            recomputes: Whether blocks are computed again.
        """
        block = (8 + 6 * self.ffn_dim / self.dim) * self.dim**2 + 4 * context * self.dim
        return (4 if recomputes else 3) * self.layers * block + 6 * self.dim * self.vocab_size
