"""Weights laid out for decoding on CPU.

A decoding step multiplies a few rows with every matrix. In fp32, MKL does that up to twice as fast when a large
matrix is stored column by column. In bf16 it is ten times as slow and more. Training wants matrices row by row.
"""

from typing import Any

import torch
from torch import Tensor, nn

from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.nn.sharded import is_gathered, is_split


class ColumnMajor:
    """The fp32 matrices of a network on CPU, stored column by column from `turn` until `restore`.

    Each is copied there and back, one at a time. Shapes, values and names do not change. Matrices on other devices or
    split over ranks are left alone, and so are those that FSDP gathers into memory of its own. The first forward pass
    with gradients restores them: an optimizer never meets another layout than that of its state.
    """

    def __init__(self) -> None:
        self.turned: list[Tensor] = []
        self.is_watching = False

    def turn(self, net: LanguageModel) -> None:
        """Store the matrices of ``net`` column by column. Those that are stored so already stay."""
        for weight in turnable(net):
            weight.data = weight.data.t().contiguous().t()
            self.turned.append(weight)
        if self.turned and not self.is_watching:
            # The trunk alone, since a reward model may share it. A copy of the network copies this object with it.
            net.model.register_forward_pre_hook(self.before_forward)
            self.is_watching = True

    def before_forward(self, trunk: nn.Module, args: Any) -> None:
        """The hook of the trunk."""
        if self.turned and torch.is_grad_enabled():
            self.restore()

    def restore(self) -> None:
        """Store them row by row again."""
        while self.turned:
            weight = self.turned.pop()
            weight.data = weight.data.contiguous()


def turnable(net: nn.Module) -> list[Tensor]:
    """Matrices of a network in fp32 on CPU that are whole and stored row by row."""
    if is_gathered(net):
        return []
    matrices = [module.weight for module in net.modules() if isinstance(module, nn.Linear)]
    here = [weight for weight in matrices if weight.device.type == "cpu" and weight.dtype == torch.float32]
    return [weight for weight in here if weight.is_contiguous() and not is_split(weight)]
