"""Rotary positions (RoFormer, arXiv 2104.09864) with the two extrapolations of report section 3.3.

Legend: B rows, T tokens, H head width.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Scaling = Literal["none", "linear", "dynamic"]


class Rope(nn.Module):
    """Angles of rotary positions. Holds no tensor: they are computed where and when they are needed.

    Args:
        head_dim: H, even.
        base: base of the frequencies. It may be changed between phases.
        max_positions: trained length in tokens; beyond it ``dynamic`` raises the base.
        scaling: ``linear`` divides positions by ``factor``; ``dynamic`` is dynamic NTK: the base grows with the length.
        factor: strength of the scaling.

    Raises:
        ValueError: an unknown scaling or a factor below 1.
    """

    def __init__(
        self, head_dim: int, base: float, max_positions: int, scaling: Scaling = "none", factor: float = 1.0
    ) -> None:
        super().__init__()
        if scaling not in ("none", "linear", "dynamic"):
            raise ValueError(
                f"rope scaling {scaling!r} is none of none, linear, dynamic; set model.rope_scaling to one of them."
            )
        if factor < 1:
            raise ValueError(f"rope factor {factor} is below 1; set model.rope_factor to 1 or more.")
        self.head_dim, self.base, self.max_positions = head_dim, base, max_positions
        self.scaling, self.factor = scaling, factor

    def extra_repr(self) -> str:
        """Base and scaling, for print(net)."""
        return f"base={self.base:g}, scaling={self.scaling}, factor={self.factor:g}"

    def frequencies(self, length: int, device: torch.device) -> Tensor:
        """Angular frequencies, [H/2] float32, for a sequence of ``length`` tokens."""
        base = self.base
        if self.scaling == "dynamic" and length > self.max_positions:
            stretch = self.factor * length / self.max_positions - (self.factor - 1)
            base = base * stretch ** (self.head_dim / (self.head_dim - 2))
        exponents = torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=device) / self.head_dim
        return torch.pow(base, -exponents)

    def forward(self, position_ids_BT: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of every angle, each [B, T, 1, H/2] float32.

        Args:
            position_ids_BT: [B, T] int64.
            length: the longest position plus one; read only by dynamic scaling.
        """
        positions = position_ids_BT.float()
        if self.scaling == "linear":
            positions = positions / self.factor
        angles = positions[..., None] * self.frequencies(length, position_ids_BT.device)
        return angles.cos()[:, :, None], angles.sin()[:, :, None]


def rotate(x_BTNH: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (h, h + H/2) of every head by the angle of its position.

    Args:
        x_BTNH: [B, T, heads, H].
        cos: [B, T, 1, H/2].
        sin: [B, T, 1, H/2].
    """
    cos, sin = cos.to(x_BTNH.dtype), sin.to(x_BTNH.dtype)
    first, second = x_BTNH.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
