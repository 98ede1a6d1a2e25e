"""Attention under an explicit document mask."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from internlm2_core.nn.segments import Segments


class MaskedAttend(nn.Module):
    """One call a batch with a [B, 1, T, T] mask: quadratic in the row, easy to trust."""

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Segments) -> Tensor:
        """Causal attention inside documents, [B, T, N, H]."""
        documents_BT = segments.document_ids
        T = documents_BT.shape[1]
        causal = torch.ones(T, T, dtype=torch.bool, device=q_BTNH.device).tril()
        mask = ((documents_BT[:, :, None] == documents_BT[:, None, :]) & causal)[:, None]
        q, k, v = (x.transpose(1, 2) for x in (q_BTNH, k_BTGH, v_BTGH))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)
