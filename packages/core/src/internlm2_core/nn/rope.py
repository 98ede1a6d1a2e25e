"""Rotary positions (RoFormer, arXiv 2104.09864) with the two extrapolations of report section 3.3.

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

    def frequencies(self, length: int, device: torch.device) -> Tensor:
        """Angular frequencies, [H/2] float32, for a sequence of ``length`` tokens."""
        size, H = self.size, self.size.head_dim
        base = size.rope_base
        if size.rope_scaling == "dynamic" and length > size.max_positions:
            stretch = size.rope_factor * length / size.max_positions - (size.rope_factor - 1)
            base = base * stretch ** (H / (H - 2))
        exponents = torch.arange(0, H, 2, dtype=torch.float32, device=device) / H
        return torch.pow(base, -exponents)

    def forward(self, position_ids_BT: Tensor, length: int) -> Rotation:
        """Cosine and sine of every angle, each [B, T, 1, H/2] float32.

        Args:
            position_ids_BT: Positions, [B, T] int64.
            length: The longest position plus one. Only dynamic scaling reads it.
        """
        positions = position_ids_BT.float()
        if self.size.rope_scaling == "linear":
            positions = positions / self.size.rope_factor
        angles = positions[..., None] * self.frequencies(length, position_ids_BT.device)
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
