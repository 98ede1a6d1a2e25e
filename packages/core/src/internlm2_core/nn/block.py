"""One pre-norm block: attention and feed-forward, each added to the residual stream."""

from torch import Tensor, nn

from internlm2_core.nn.attention import Attention, at_places
from internlm2_core.nn.cache import LayerCache
from internlm2_core.nn.feed_forward import FeedForward
from internlm2_core.nn.rope import Rotation
from internlm2_core.nn.segments import Segments
from internlm2_core.sizes import ModelSize


class Block(nn.Module):
    """``x + attention(norm x)``, then ``x + feed_forward(norm x)``.

    Args:
        size: The model's shape.
        attend: Attention back end, see `Attention`.
    """

    def __init__(self, size: ModelSize, attend: nn.Module) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(size.dim, eps=size.norm_eps)
        self.attention = Attention(
            size.dim,
            num_kv_heads=size.num_kv_heads,
            q_per_kv=size.q_per_kv,
            head_dim=size.head_dim,
            attend=attend,
        )
        self.ffn_norm = nn.RMSNorm(size.dim, eps=size.norm_eps)
        self.feed_forward = FeedForward(size.dim, size.ffn_dim)

    def forward(
        self,
        x_BTD: Tensor,
        rotation: Rotation,
        segments: Segments,
        cache: LayerCache | None = None,
        places_N: Tensor | None = None,
    ) -> Tensor:
        """One step of the residual stream, [B, T, D] to [B, T, D] or [1, N, D]. Arguments are those of `Attention`."""
        mixed = self.attention(self.attention_norm(x_BTD), rotation, segments, cache, places_N)
        x_BTD = mixed + (x_BTD if places_N is None else at_places(x_BTD, places_N))
        return x_BTD + self.feed_forward(self.ffn_norm(x_BTD))
