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
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from internlm2_core.nn.attend.flash import FlashAttend, installed_versions
from internlm2_core.nn.attend.flex import FlexAttend
from internlm2_core.nn.attend.masked import MaskedAttend
from internlm2_core.nn.attend.sdpa import SDPAttend
from internlm2_core.nn.attend.varlen import VarlenAttend

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


def named_attend(name: str) -> nn.Module:
    """The back end of that name, or with ``auto`` the fastest that is installed.

    Raises:
        ValueError: no such back end.
        ModuleNotFoundError: its library is not installed.
    """
    if name == "auto":
        return default_attend()
    if name not in ATTENDS:
        raise ValueError(f"attention {name!r} is none of auto, {', '.join(ATTENDS)}; set model.attend to one of them.")
    return ATTENDS[name]()


def default_attend() -> nn.Module:
    """flash-attn where it is installed beside a GPU, torch's variable-length kernel on other GPUs, SDPA on CPU."""
    if not torch.cuda.is_available():
        return SDPAttend()
    return FlashAttend() if installed_versions() else VarlenAttend()


__all__ = [
    "ATTENDS",
    "FlashAttend",
    "FlexAttend",
    "MaskedAttend",
    "SDPAttend",
    "VarlenAttend",
    "default_attend",
    "named_attend",
]
