"""Rotary positions (RoFormer, arXiv 2104.09864) with the extrapolations of report section 3.3, Llama 3 and YaRN.

Dynamic scaling raises the base with the length of a document. Each document of a batch has a base of its own, so that
its logits do not depend on its neighbours.

Legend: B rows, T tokens, H head width.
"""

import math

import torch
from torch import Tensor, nn

from internlm2_core.sizes import ModelSize

Rotation = tuple[Tensor, Tensor]
"""Cosine and signed sine of every angle, each [B, T, 1, H] float32. Of a pair, the first has the sine negated."""


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
            return self._stretched(torch.pow(size.rope_base, -exponents))
        beyond_BT = (lengths_BT.float() / size.max_positions - 1).clamp(min=0)
        bases_BT = size.rope_base * (1 + size.rope_factor * beyond_BT) ** (H / (H - 2))
        return torch.pow(bases_BT[..., None], -exponents)

    def forward(self, position_ids_BT: Tensor, lengths_BT: Tensor | None = None) -> Rotation:
        """Cosine and signed sine of every angle, each [B, T, 1, H] float32.

        Args:
            position_ids_BT: Positions, [B, T] int64.
            lengths_BT: Tokens of the document that each token belongs to, [B, T] or [B, 1] int64. Only dynamic scaling
                reads them.
        """
        positions = position_ids_BT.float()
        if self.size.rope_scaling == "linear":
            positions = positions / self.size.rope_factor
        angles = positions[..., None] * self.frequencies(lengths_BT, position_ids_BT.device)
        half_cos, half_sin = angles.cos()[:, :, None], angles.sin()[:, :, None]
        cos, sin = torch.cat((half_cos, half_cos), dim=-1), torch.cat((-half_sin, half_sin), dim=-1)
        if self.size.rope_attention != 1:
            return cos * self.size.rope_attention, sin * self.size.rope_attention
        return cos, sin

    def _stretched(self, frequencies: Tensor) -> Tensor:
        """Slow rotations divided by the factor, fast ones as they are (``llama3`` and ``yarn``)."""
        size = self.size
        if size.rope_scaling not in ("llama3", "yarn"):
            return frequencies
        if size.rope_scaling == "llama3":  # fades in with the turns within the original context
            turns = size.rope_original_positions * frequencies / (2 * math.pi)
            kept = (turns - size.rope_slow) / (size.rope_fast - size.rope_slow)
        else:  # fades in with the index of the frequency
            H, log_base = size.head_dim, math.log(size.rope_base)
            index = [
                H * math.log(size.rope_original_positions / (turns * 2 * math.pi)) / (2 * log_base)
                for turns in (size.rope_fast, size.rope_slow)
            ]
            low, high = max(math.floor(index[0]), 0), min(math.ceil(index[1]), H - 1)
            numbers = torch.arange(H // 2, dtype=torch.float32, device=frequencies.device)
            kept = 1 - (numbers - low) / max(high - low, 0.001)
        kept = kept.clamp(0, 1)
        return kept * frequencies + (1 - kept) * frequencies / size.rope_factor


def rotate(x_BTNH: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn the pairs (h, h + H/2) of every head by the angle of its position.

    Args:
        x_BTNH: Queries or keys, [B, T, heads, H].
        cos: Cosines, [B, T, 1, H].
        sin: Signed sines, [B, T, 1, H].
    """
    cos, sin = cos.to(x_BTNH.dtype), sin.to(x_BTNH.dtype)
    other_BTNH = x_BTNH.roll(x_BTNH.shape[-1] // 2, -1)
    return torch.addcmul(x_BTNH * cos, other_BTNH, sin)
