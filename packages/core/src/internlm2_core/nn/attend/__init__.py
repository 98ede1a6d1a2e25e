"""Attention back ends behind one seam: causal, inside documents, without weights.

Every one is called ``attend(q_BTNH, k_BTGH, v_BTGH, segments) -> out_BTNH``.

============  =====================================================================================
`sdpa`        torch's scaled_dot_product_attention, document by document (CPU default)
`masked`      one call under an explicit document mask: slow, short, the reference of the tests
`varlen`      torch's own variable-length kernel (CUDA)
`flash`       flash-attn, variable length (CUDA, extra ``flash-attn``): version 3, 2 or 4, whichever is there first
`flash2` to `flash4`: that version of it
`flex`        FlexAttention with a document mask (CUDA)
============  =====================================================================================

A back end of your own is a module or a function of the same call, see ``docs/add-an-attention-back-end.md``.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from internlm2_core.nn.attend.flash import FlashAttend, installed_versions
from internlm2_core.nn.attend.flex import FlexAttend
from internlm2_core.nn.attend.masked import MaskedAttend
from internlm2_core.nn.attend.sdpa import SDPAttend
from internlm2_core.nn.attend.varlen import VarlenAttend
from internlm2_core.nn.segments import Segments

AttendLike = str | nn.Module | Callable[[Tensor, Tensor, Tensor, Segments], Tensor]
"""What names or is a back end."""

ATTENDS: dict[str, Callable[[], nn.Module]] = {
    "sdpa": SDPAttend,
    "masked": MaskedAttend,
    "varlen": VarlenAttend,
    "flash": FlashAttend,
    "flash2": partial(FlashAttend, 2),
    "flash3": partial(FlashAttend, 3),
    "flash4": partial(FlashAttend, 4),
    "flex": FlexAttend,
}


class FunctionAttend(nn.Module):
    """A function as a back end, so that a strategy finds and replaces it like any other.

    Args:
        function: Called ``function(q_BTNH, k_BTGH, v_BTGH, segments) -> out_BTNH``.
    """

    def __init__(self, function: Callable[[Tensor, Tensor, Tensor, Segments], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        return self.function(q_BTNH, k_BTGH, v_BTGH, segments)


def attend_of(attend: AttendLike) -> nn.Module:
    """A back end from its name, from a module, or from a function.

    Args:
        attend: A name of the table above, ``auto`` for the fastest that is installed, a module without weights, its
            class (or a partial of it), or a function.

    Raises:
        ValueError: If a name is not known, or the module has weights.
        ModuleNotFoundError: If its library is not installed.
    """
    if attend == "auto":
        return default_attend()
    if isinstance(attend, str):
        if attend not in ATTENDS:
            raise ValueError(f"attend={attend!r} must be a module, a function, or one of auto, {', '.join(ATTENDS)}.")
        return ATTENDS[attend]()
    module: Any = attend
    if isinstance(attend.func if isinstance(attend, partial) else attend, type):
        module = module()
    if not isinstance(module, nn.Module):
        return FunctionAttend(module)
    if names := [name for name, _ in module.named_parameters()]:
        raise ValueError(f"attend={type(module).__name__} must have no weights, but it has {names[0]}.")
    return module


def default_attend() -> nn.Module:
    """flash-attn where it is installed beside a GPU, torch's variable-length kernel on other GPUs, SDPA on CPU."""
    if not torch.cuda.is_available():
        return SDPAttend()
    return FlashAttend() if installed_versions() else VarlenAttend()


__all__ = [
    "ATTENDS",
    "AttendLike",
    "FlashAttend",
    "FlexAttend",
    "FunctionAttend",
    "MaskedAttend",
    "SDPAttend",
    "VarlenAttend",
    "attend_of",
    "default_attend",
]
