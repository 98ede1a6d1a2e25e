"""Attention by FlexAttention with a document mask. On CPU torch 2.13 has its forward pass alone."""

import torch
from torch import Tensor, nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from internlm2_core.nn.segments import Segments


class FlexAttend(nn.Module):
    """Compiled FlexAttention. The block mask skips what lies between documents."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = torch.compile(flex_attention, dynamic=False)

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        documents_BT = segments.document_ids
        B, T = documents_BT.shape

        def inside_document(b: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            return (q >= k) & (documents_BT[b, q] == documents_BT[b, k])

        mask = create_block_mask(inside_document, B, None, T, T, device=q_BTNH.device)
        q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTGH, v_BTGH))
        return self.kernel(q, k, v, block_mask=mask, enable_gqa=True).transpose(1, 2)
