"""SwiGLU feed-forward (arXiv 2002.05202) under the released names: w1 gate, w3 up, w2 down."""

import torch.nn.functional as F
from torch import Tensor, nn


class FeedForward(nn.Module):
    """``w2(silu(w1 x) * w3 x)``, width D to D through F.

    Args:
        dim: Width D of input and output.
        ffn_dim: Inner width F.
    """

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(dim, ffn_dim, bias=False)
        self.w3 = nn.Linear(dim, ffn_dim, bias=False)
        self.w2 = nn.Linear(ffn_dim, dim, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Apply to the last dimension."""
        return self.w2(F.silu(self.w1(x_BTD)) * self.w3(x_BTD))
