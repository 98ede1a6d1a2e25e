"""Next-token loss of a hidden state and a head, without ever holding all logits.

Logits of 32,768 positions over 92,544 tokens are 12 GB in fp32. They are computed chunk by chunk and again in the
backward pass, so that only one chunk lives at a time. Small ones are computed once.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import checkpoint

from internlm2_core.batch import IGNORE


class TokenLosses(NamedTuple):
    """Sums over the positions that carry loss; scalars, fp32.

    Attributes:
        cross_entropy: sum of -log p(label), in nats.
        z_squared: sum of log(sum(exp(logits)))**2, the z-loss of PaLM (arXiv 2204.02311).
    """

    cross_entropy: Tensor
    z_squared: Tensor


def chunk_losses(hidden_ND: Tensor, head: nn.Module, labels_N: Tensor, with_z: bool) -> TokenLosses:
    """Losses of N positions through a head; logits are raised to fp32 first.

    Args:
        hidden_ND: [N, D].
        head: maps [N, D] to logits [N, V]; the logits may be a DTensor split over the vocabulary.
        labels_N: [N] int64, -100 where there is no loss.
        with_z: compute the z-loss as well; 0 otherwise.
    """
    logits_NV = head(hidden_ND).float()
    cross_entropy = F.cross_entropy(logits_NV, labels_N, ignore_index=IGNORE, reduction="sum")
    if not with_z:
        return TokenLosses(cross_entropy, torch.zeros((), device=hidden_ND.device))
    z_N = logits_NV.logsumexp(-1)
    return TokenLosses(cross_entropy, (z_N.square() * (labels_N != IGNORE)).sum())


def liger_losses(hidden_ND: Tensor, head: nn.Linear, labels_N: Tensor) -> TokenLosses:
    """Losses by Liger's kernel, which computes the gradients of head and states along with the loss (arXiv 2410.10989).

    Raises:
        ModuleNotFoundError: liger-kernel is not installed.
        ValueError: not on a GPU, or a head that is split over ranks.
    """
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'Liger is not installed; pip install "internlm2-core[liger]" or set model.head_loss=chunked.'
        ) from error
    if not hidden_ND.is_cuda or isinstance(head.weight, DTensor):
        where = "a head split over ranks" if isinstance(head.weight, DTensor) else hidden_ND.device.type
        raise ValueError(f"Liger's kernel does not run on {where}; set model.head_loss=chunked.")
    loss = liger_fused_linear_cross_entropy(hidden_ND, head.weight, labels_N, ignore_index=IGNORE, reduction="sum")
    return TokenLosses(loss, torch.zeros((), device=hidden_ND.device))


def head_losses(
    hidden_BTD: Tensor, head: nn.Linear, labels_BT: Tensor, max_logits: int, with_z: bool = False
) -> TokenLosses:
    """Sum of the losses of a batch.

    Args:
        hidden_BTD: [B, T, D] states after the last norm.
        head: the output projection.
        labels_BT: [B, T] int64, shifted, -100 where there is no loss.
        max_logits: logits held at once.
        with_z: compute the z-loss as well.
    """
    hidden_ND, labels_N = hidden_BTD.flatten(0, 1), labels_BT.flatten()
    vocab_size = head.weight.shape[0]
    rows = max(1, max_logits // vocab_size)
    if len(labels_N) <= rows:
        return chunk_losses(hidden_ND, head, labels_N, with_z)
    parts = [
        checkpoint(chunk_losses, hidden, head, labels, with_z, use_reentrant=False)
        for hidden, labels in zip(hidden_ND.split(rows), labels_N.split(rows), strict=True)
    ]
    sums = [torch.stack(values).sum() for values in zip(*parts, strict=True)]
    return TokenLosses(*sums)
