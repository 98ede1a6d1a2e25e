"""Attention by torch's own variable-length kernel. It runs on CUDA only: torch 2.13 has no such kernel for CPU."""

from torch import Tensor, nn

from internlm2_core.nn.segments import Segments
from internlm2_core.nn.uncompiled import uncompiled


class VarlenAttend(nn.Module):
    """``torch.nn.attention.varlen.varlen_attn`` over the whole batch as one line of tokens."""

    @uncompiled  # lengths of documents are not to be compiled in
    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H] in bf16 or fp16.

        Raises:
            ValueError: If the tensors are not on a GPU.
        """
        if q_BTNH.device.type != "cuda":
            raise ValueError(f"attend='varlen' has no kernel for {q_BTNH.device.type}. attend='sdpa' runs everywhere.")
        from torch.nn.attention.varlen import varlen_attn

        q, k, v = (x.flatten(0, 1) for x in (q_BTNH, k_BTGH, v_BTGH))
        repeats = q.shape[1] // k.shape[1]
        k, v = (x.repeat_interleave(repeats, 1) for x in (k, v))
        ends, longest = segments.cu_seqlens, segments.max_length
        out = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0))
        assert isinstance(out, Tensor)
        return out.unflatten(0, q_BTNH.shape[:2])
