"""Next-token loss of a hidden state and a head, without ever holding all logits.

Logits of 32,768 positions over 92,544 tokens are 12 GB in fp32. They are computed chunk by chunk, and the gradients of
states and head along with them (as in arXiv 2410.10989), so that one chunk lives at a time and none is computed twice.
"""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from internlm2_core.batch import IGNORE
from internlm2_core.nn.sharded import is_split
from internlm2_core.nn.uncompiled import uncompiled


class TokenLosses(NamedTuple):
    """Sums over the positions that carry loss, as scalars in fp32.

    Attributes:
        cross_entropy: Sum of -log p(label), a scalar in nats.
        z_squared: Sum of log(sum(exp(logits)))**2, a scalar: the z-loss of PaLM (arXiv 2204.02311).
    """

    cross_entropy: Tensor
    z_squared: Tensor


def chunk_losses(hidden_ND: Tensor, head: nn.Module, labels_N: Tensor, with_z: bool) -> TokenLosses:
    """Losses of N positions through a head. Logits are raised to fp32 first.

    Args:
        hidden_ND: States after the last norm, [N, D].
        head: Maps [N, D] to logits [N, V]. The logits may be a DTensor split over the vocabulary.
        labels_N: Labels, [N] int64, where -100 carries no loss.
        with_z: Compute the z-loss too. Otherwise it is 0.
    """
    logits_NV = head(hidden_ND)
    logits_NV = logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
    cross_entropy = F.cross_entropy(logits_NV, labels_N, ignore_index=IGNORE, reduction="sum")
    if not with_z:
        return TokenLosses(cross_entropy, torch.zeros((), device=hidden_ND.device))
    z_N = logits_NV.logsumexp(-1)
    return TokenLosses(cross_entropy, (z_N.square() * (labels_N != IGNORE)).sum())


def target_logprobs(
    hidden_ND: Tensor,
    head: nn.Linear,
    targets_N: Tensor,
    max_logits: int,
    temperature: float = 1.0,
    with_entropy: bool = False,
    with_greedy: bool = False,
) -> Tensor:
    """Log-probability of one token at each position, in nats, without holding more than ``max_logits`` logits.

    Args:
        hidden_ND: States after the last norm, [N, D].
        head: The output projection.
        targets_N: The tokens, [N] int64.
        max_logits: Logits held at once. Where there are more, chunks are computed again in the backward pass.
        temperature: Divides the logits.
        with_entropy: Compute the entropy of the distribution at each position too, without gradient.
        with_greedy: Say of each token whether it is the most probable one, 1 or 0.

    Returns:
        Log-probabilities, [N]. With entropies or greedy choices, [2, N] or [3, N]: log-probabilities first.
    """
    rows = max(1, max_logits // head.weight.shape[0])
    if len(targets_N) <= rows:
        return chunk_logprobs(hidden_ND, head, targets_N, temperature, with_entropy, with_greedy)
    parts = [
        checkpoint(chunk_logprobs, hidden, head, targets, temperature, with_entropy, with_greedy, use_reentrant=False)
        for hidden, targets in zip(hidden_ND.split(rows), targets_N.split(rows), strict=True)
    ]
    return torch.cat(parts, dim=-1)


def chunk_logprobs(
    hidden_ND: Tensor,
    head: nn.Module,
    targets_N: Tensor,
    temperature: float = 1.0,
    with_entropy: bool = False,
    with_greedy: bool = False,
) -> Tensor:
    """What `target_logprobs` returns, of positions whose logits are held whole.

    Args:
        hidden_ND: States after the last norm, [N, D].
        head: The output projection. Its logits are raised to fp32.
        targets_N: The tokens, [N] int64.
        temperature: Divides the logits.
        with_entropy: Compute entropies too, without gradient.
        with_greedy: Say of each token whether it is the most probable one.
    """
    logits_NV = head(hidden_ND).float()
    if temperature != 1:
        logits_NV = logits_NV / temperature
    rows = []
    if with_entropy:
        logprobs_NV = logits_NV.log_softmax(-1)
        rows.append(-F.nll_loss(logprobs_NV, targets_N, reduction="none"))
        with torch.no_grad():  # a figure, which no loss wants
            rows.append(-torch.linalg.vecdot(logprobs_NV.exp(), logprobs_NV))
    else:
        rows.append(-F.cross_entropy(logits_NV, targets_N, reduction="none"))
    if with_greedy:
        rows.append((logits_NV.argmax(-1) == targets_N).float())
    return rows[0] if len(rows) == 1 else torch.stack(rows)


def liger_losses(hidden_ND: Tensor, head: nn.Linear, labels_N: Tensor) -> TokenLosses:
    """Losses by Liger's kernel, which computes the gradients of head and states along with the loss (arXiv 2410.10989).

    Args:
        hidden_ND: States after the last norm, [N, D].
        head: The output projection, whole on this rank.
        labels_N: Labels, [N] int64, where -100 carries no loss.

    Raises:
        ModuleNotFoundError: If liger-kernel is not installed.
        ValueError: If the states are not on a GPU, or the head is split over ranks.
    """
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "head_loss='liger' needs liger-kernel, which is not installed: pip install \"internlm2-core[liger]\"."
        ) from error
    if not hidden_ND.is_cuda or is_split(head.weight):
        where = "a head split over ranks" if is_split(head.weight) else hidden_ND.device.type
        raise ValueError(f"head_loss='liger' does not run on {where}. head_loss='chunked' runs everywhere.")
    loss = liger_fused_linear_cross_entropy(hidden_ND, head.weight, labels_N, ignore_index=IGNORE, reduction="sum")
    return TokenLosses(loss, torch.zeros((), device=hidden_ND.device))


class LinearCrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies of a head's logits. Gradients are computed in the forward pass, chunk by chunk.

    Against the loss of whole logits this saves the pass that fills a gradient of their size with zeros, and against
    recomputation one matrix product in four (tests/benchmarks/core/bench_training.py).
    """

    @staticmethod
    def forward(ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, labels_N: Tensor, rows: int) -> Tensor:
        """The sum, a scalar in fp32 or more. Logits of ``rows`` positions are held at once."""
        dtype = torch.promote_types(hidden_ND.dtype, torch.float32)
        trains_hidden, trains_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=dtype, device=hidden_ND.device)
        hidden_grads: list[Tensor] = []
        weight_grad = None
        for hidden, labels in zip(hidden_ND.split(rows), labels_N.split(rows), strict=True):
            logprobs = F.log_softmax(hidden @ weight_VD.t(), dim=-1, dtype=dtype)
            has_loss = labels != IGNORE
            chosen = labels.where(has_loss, 0)[:, None]
            total -= logprobs.gather(1, chosen)[:, 0].where(has_loss, 0).sum()
            if not (trains_hidden or trains_weight):
                continue
            # What softmax and label differ by, in the memory of the log-probabilities.
            grad = logprobs.exp_()
            grad.scatter_add_(1, chosen, torch.full_like(chosen, -1, dtype=grad.dtype))
            grad = grad.to(hidden.dtype)
            # Positions without loss are left out of the narrow factors, not of the wide gradient.
            if trains_hidden:
                hidden_grads.append((grad @ weight_VD) * has_loss[:, None])
            if trains_weight:
                part = (grad.t() @ (hidden * has_loss[:, None])).to(weight_VD.dtype)
                weight_grad = part if weight_grad is None else weight_grad.add_(part)
        ctx.hidden_grad = torch.cat(hidden_grads) if hidden_grads else None
        ctx.weight_grad, ctx.is_used = weight_grad, False
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """The gradients that were computed in the forward pass, scaled in place. It works once."""
        if ctx.is_used:
            raise RuntimeError("The loss of the head was differentiated before. Compute it again.")
        ctx.is_used = True
        hidden_grad, weight_grad = (None if x is None else x.mul_(scale) for x in (ctx.hidden_grad, ctx.weight_grad))
        # A pipeline keeps the losses of all its micro-batches, and would keep a gradient of the head with each.
        ctx.hidden_grad = ctx.weight_grad = None
        return hidden_grad, weight_grad, None, None


# The chunks are few and large. Compiled, each number of them would be a program of its own.
chunked_loss = uncompiled(LinearCrossEntropy.apply)


def head_losses(
    hidden_BTD: Tensor, head: nn.Linear, labels_BT: Tensor, max_logits: int, with_z: bool = False
) -> TokenLosses:
    """Sum of the losses of a batch.

    Args:
        hidden_BTD: States after the last norm, [B, T, D].
        head: The output projection.
        labels_BT: Labels, [B, T] int64, shifted, where -100 carries no loss.
        max_logits: Logits held at once.
        with_z: Compute the z-loss too.
    """
    hidden_ND, labels_N = hidden_BTD.flatten(0, 1), labels_BT.flatten()
    vocab_size = head.weight.shape[0]
    rows = max(1, max_logits // vocab_size)
    # Where all logits fit, compiled programs fuse the plain loss better.
    is_fused_anyway = torch.compiler.is_compiling() and len(labels_N) <= rows
    if not (with_z or is_fused_anyway or is_split(head.weight)):
        # Without a backward pass to come, as in validation, no gradient is worked out.
        weight = head.weight if torch.is_grad_enabled() else head.weight.detach()
        loss = chunked_loss(hidden_ND, weight, labels_N, rows)
        return TokenLosses(loss, torch.zeros((), device=hidden_ND.device))
    if len(labels_N) <= rows:
        return chunk_losses(hidden_ND, head, labels_N, with_z)
    parts = [
        checkpoint(chunk_losses, hidden, head, labels, with_z, use_reentrant=False)
        for hidden, labels in zip(hidden_ND.split(rows), labels_N.split(rows), strict=True)
    ]
    sums = [torch.stack(values).sum() for values in zip(*parts, strict=True)]
    return TokenLosses(*sums)
