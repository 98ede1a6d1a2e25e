"""Attention by flash-attn: CUDA, fp16 or bf16. Versions 2, 3 and 4 are three modules that take the same arguments."""

from importlib import import_module
from importlib.util import find_spec

from torch import Tensor, nn

from internlm2_core.nn.segments import Segments
from internlm2_core.nn.uncompiled import uncompiled

MODULES = {3: "flash_attn_interface", 2: "flash_attn.flash_attn_interface", 4: "flash_attn.cute"}
"""Where each version is, the preferred one first. Version 4 is the youngest and comes last."""


def installed_versions() -> list[int]:
    """Versions of flash-attn that are there, the preferred one first."""
    return [version for version, module in MODULES.items() if is_there(module)]


def is_there(module: str) -> bool:
    """Whether a module can be found."""
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


class FlashAttend(nn.Module):
    """Variable-length flash attention. The kernel handles grouped queries.

    Args:
        version: The version, 2, 3 or 4. None takes the preferred one that is installed.

    Raises:
        ModuleNotFoundError: If flash-attn is not installed, or not in this version.
    """

    def __init__(self, version: int | None = None) -> None:
        super().__init__()
        installed = installed_versions()
        if not installed or version not in (None, *installed):
            wanted = "flash-attn" if version is None else f"flash-attn {version}"
            raise ModuleNotFoundError(
                f"{wanted} is not installed: pip install \"internlm2-core[flash-attn]\". attend='sdpa' runs without it."
            )
        self.version = version or installed[0]
        self.kernel = import_module(MODULES[self.version]).flash_attn_varlen_func

    @uncompiled  # lengths of documents are not to be compiled in
    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        q, k, v = (x.flatten(0, 1) for x in (q_BTNH, k_BTGH, v_BTGH))
        ends, longest = segments.cu_seqlens, segments.max_length
        out = self.kernel(
            q, k, v, cu_seqlens_q=ends, cu_seqlens_k=ends, max_seqlen_q=longest, max_seqlen_k=longest, causal=True
        )
        out = out[0] if isinstance(out, tuple) else out
        return out.unflatten(0, q_BTNH.shape[:2])
