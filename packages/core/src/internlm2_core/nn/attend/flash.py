"""Attention by flash-attn, version 3 (``flash_attn_interface``) or 2 (``flash_attn``): CUDA, fp16 or bf16."""

from importlib.util import find_spec

from torch import Tensor, nn

from internlm2_core.nn.segments import Segments


def flash_is_installed() -> bool:
    """Whether flash-attn 3 or 2 can be imported."""
    return find_spec("flash_attn_interface") is not None or find_spec("flash_attn") is not None


class FlashAttend(nn.Module):
    """Variable-length flash attention; grouped queries are handled by the kernel.

    Raises:
        ModuleNotFoundError: flash-attn is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        if find_spec("flash_attn_interface") is not None:
            from flash_attn_interface import flash_attn_varlen_func
        elif find_spec("flash_attn") is not None:
            from flash_attn import flash_attn_varlen_func
        else:
            raise ModuleNotFoundError(
                'flash-attn is not installed; pip install "internlm2-core[flash-attn]" or set model.attend=sdpa.'
            )
        self.kernel = flash_attn_varlen_func

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        q, k, v = (x.flatten(0, 1) for x in (q_BTNH, k_BTGH, v_BTGH))
        ends, longest = segments.cu_seqlens, segments.max_length
        out = self.kernel(q, k, v, ends, ends, longest, longest, causal=True)
        out = out[0] if isinstance(out, tuple) else out
        return out.unflatten(0, q_BTNH.shape[:2])
