"""The shapes of InternLM2 models and what they cost (report section 2.2, table 3)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

RopeScaling = Literal["none", "linear", "dynamic", "llama3", "yarn"]

VOCAB_SIZE = 92_544
"""Rows of the released embedding: 92,548 tokens cut to a multiple of 256 (report 3.2.1)."""


@dataclass(frozen=True)
class ModelSize:
    """One shape of the model: everything that fixes the weights and the positions, nothing else.

    Args:
        layers: Number of blocks.
        dim: Width D of the residual stream.
        num_kv_heads: Key/value heads G.
        q_per_kv: Query heads per key/value head. There are N = G * q_per_kv query heads.
        ffn_dim: Width of the SwiGLU feed-forward.
        vocab_size: Rows V of the embedding and of the untied head.
        head_dim: Width H of one head.
        rope_base: Base of the rotary frequencies (report 3.3): 50,000 at 4k, 1,000,000 from 32k on.
        max_positions: Trained context length in tokens.
        norm_eps: Epsilon of RMSNorm.
        rope_scaling: What happens beyond ``max_positions``. ``none`` changes nothing, ``linear`` divides all positions
            by the factor, ``dynamic`` (NTK) raises the base with the length. ``llama3`` and ``yarn`` divide slow
            rotations by the factor and keep fast ones.
        rope_factor: Strength of the scaling.
        rope_slow: Turns within ``rope_original_positions`` below which a rotation is slow (``llama3``, ``yarn``).
        rope_fast: Turns above which it is fast. Between the two the factor fades in.
        rope_original_positions: Context length in tokens before the scaling (``llama3``, ``yarn``).
        rope_attention: Factor of queries and keys (``yarn``).

    Raises:
        ValueError: If a number is not positive, the head width is odd, the scaling unknown, its factor below 1, or
            ``rope_slow`` not below ``rope_fast``.
    """

    layers: int
    dim: int
    num_kv_heads: int
    q_per_kv: int
    ffn_dim: int
    vocab_size: int = VOCAB_SIZE
    head_dim: int = 128
    rope_base: float = 50_000.0
    max_positions: int = 4096
    norm_eps: float = 1e-5
    rope_scaling: RopeScaling = "none"
    rope_factor: float = 1.0
    rope_slow: float = 1.0
    rope_fast: float = 4.0
    rope_original_positions: int = 8192
    rope_attention: float = 1.0

    def __post_init__(self) -> None:
        if self.rope_scaling not in get_args(RopeScaling):
            known = ", ".join(get_args(RopeScaling))
            raise ValueError(f"rope_scaling={self.rope_scaling!r} must be one of {known}.")
        if self.rope_factor < 1:
            raise ValueError(f"rope_factor={self.rope_factor} must be 1 or more.")
        for name, value in vars(self).items():
            if value is None or (not isinstance(value, str) and value <= 0):
                raise ValueError(f"{name}={value} must be positive.")
        if self.rope_slow >= self.rope_fast:
            raise ValueError(f"rope_slow={self.rope_slow} must be below rope_fast={self.rope_fast}.")
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even: rotary positions turn pairs of numbers.")

    @property
    def num_q_heads(self) -> int:
        """Query heads N."""
        return self.num_kv_heads * self.q_per_kv

    def num_params(self) -> int:
        """Number of weights, embedding and head included.

        Returns:
            V*D for the embedding, V*D for the head, and per block wqkv, wo, three feed-forward matrices and two norms,
            plus the last norm.
        """
        wqkv = (self.num_q_heads + 2 * self.num_kv_heads) * self.head_dim * self.dim
        wo = self.num_q_heads * self.head_dim * self.dim
        block = wqkv + wo + 3 * self.dim * self.ffn_dim + 2 * self.dim
        return 2 * self.vocab_size * self.dim + self.layers * block + self.dim

    def flops_per_token(self, document_lengths: Sequence[int] | None = None) -> float:
        """Floating-point operations of one training step per token: forward 1, backward 2.

        Args:
            document_lengths: Tokens of each document in the batch. Causal attention is counted as what it needs: a
                document of n tokens has n * (n + 1) / 2 pairs. None means one document of ``max_positions`` tokens.

        Returns:
            6 per matrix weight (the embedding is a look-up and costs nothing) plus 12 * N * H per block for each
            attended pair (scores and weighted sum, 2 operations each, three passes), divided by the tokens.
        """
        lengths = list(document_lengths) if document_lengths is not None else [self.max_positions]
        pairs = sum(n * (n + 1) / 2 for n in lengths)
        return self.matrix_flops_per_token() + self.flops_per_pair() * pairs / sum(lengths)

    def matrix_flops_per_token(self) -> float:
        """Training operations in matrices: 6 per weight. Embedding and norms do not multiply matrices."""
        return 6.0 * (self.num_params() - self.vocab_size * self.dim - (2 * self.layers + 1) * self.dim)

    def flops_per_pair(self) -> float:
        """Training operations of all blocks for one token that attends to one token."""
        return 12.0 * self.layers * self.num_q_heads * self.head_dim

    def internevo_flops_per_token(self, context: int, recomputes: bool = False) -> float:
        """The count of InternEvo, whose MFU is larger than ours (InternLM/InternEvo, ``get_megatron_flops``).

        Four full projections whatever the number of key and value heads, all of a row's attention whatever its
        documents, and a forward pass more where activations are computed again.

        Args:
            context: Tokens of a row.
            recomputes: Whether activations are computed again.
        """
        block = (8 + 6 * self.ffn_dim / self.dim) * self.dim**2 + 4 * context * self.dim
        return (4 if recomputes else 3) * self.layers * block + 6 * self.dim * self.vocab_size

    def at_positions_of(self, other: "ModelSize") -> "ModelSize":
        """The same weights with RoPE and trained length of another shape, as a new phase reads them."""
        names = [name for name in vars(self) if name.startswith("rope_") or name == "max_positions"]
        return replace(self, **{name: getattr(other, name) for name in names})


def yarn_attention(factor: float) -> float:
    """Factor of queries and keys that YaRN takes for a stretch (arXiv 2309.00071, section 3.4)."""
    return 0.1 * math.log(factor) + 1.0


SIZES: dict[str, ModelSize] = {
    "1.8B": ModelSize(layers=24, dim=2048, num_kv_heads=8, q_per_kv=2, ffn_dim=8192),
    "7B": ModelSize(layers=32, dim=4096, num_kv_heads=8, q_per_kv=4, ffn_dim=14336),
    "20B": ModelSize(layers=48, dim=6144, num_kv_heads=8, q_per_kv=6, ffn_dim=16384),
}
"""The released sizes by name (report table 3)."""
