"""Rotary positions (RoFormer, arXiv 2104.09864) with the two extrapolations of report section 3.3.

Dynamic scaling raises the base with the length of a document. Each document of a batch has a base of its own, so that
its logits do not depend on its neighbours.

Legend: B rows, T tokens, H head width.
"""

import torch
from torch import Tensor, nn

from internlm2_core.sizes import ModelSize

Rotation = tuple[Tensor, Tensor]
"""Cosine and sine of every angle, each [B, T, 1, H/2] float32."""


class Rope(nn.Module):
    """Angles of rotary positions. Holds no tensor: they are computed where and when they are needed.

    Args:
        size: Gives head width, base, trained length and scaling. It may be replaced between phases.
    """

    def __init__(self, size: ModelSize) -> None:
        super().__init__()
        self.size = size

    def extra_repr(self) -> str:
        """Base and scaling, for print(net)."""
        size = self.size
        return f"base={size.rope_base:g}, scaling={size.rope_scaling}, factor={size.rope_factor:g}"

    @property
    def is_dynamic(self) -> bool:
        """Whether angles depend on the lengths of documents."""
        return self.size.rope_scaling == "dynamic"

    def frequencies(self, lengths_BT: Tensor | None, device: torch.device) -> Tensor:
        """Angular frequencies of each token, [B, T, H/2] float32, or [H/2] where all tokens share them.

        Args:
            lengths_BT: See `forward`.
            device: Where they are wanted.
        """
        size, H = self.size, self.size.head_dim
        exponents = torch.arange(0, H, 2, dtype=torch.float32, device=device) / H
        if lengths_BT is None or not self.is_dynamic:
            return torch.pow(size.rope_base, -exponents)
        beyond_BT = (lengths_BT.float() / size.max_positions - 1).clamp(min=0)
        bases_BT = size.rope_base * (1 + size.rope_factor * beyond_BT) ** (H / (H - 2))
        return torch.pow(bases_BT[..., None], -exponents)

    def forward(self, position_ids_BT: Tensor, lengths_BT: Tensor | None = None) -> Rotation:
        """Cosine and sine of every angle, each [B, T, 1, H/2] float32.

        Args:
            position_ids_BT: Positions, [B, T] int64.
            lengths_BT: Tokens of the document that each token belongs to, [B, T] or [B, 1] int64. Only dynamic scaling
                reads them.
        """
        positions = position_ids_BT.float()
        if self.size.rope_scaling == "linear":
            positions = positions / self.size.rope_factor
        angles = positions[..., None] * self.frequencies(lengths_BT, position_ids_BT.device)
        return angles.cos()[:, :, None], angles.sin()[:, :, None]


def rotate(x_BTNH: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (h, h + H/2) of every head by the angle of its position.

    Args:
        x_BTNH: Queries or keys, [B, T, heads, H].
        cos: Cosines, [B, T, 1, H/2].
        sin: Sines, [B, T, 1, H/2].
    """
    cos, sin = cos.to(x_BTNH.dtype), sin.to(x_BTNH.dtype)
    first, second = x_BTNH.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
