"""Activations computed again in the backward pass instead of being kept (arXiv 1604.06174, 2205.05198)."""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

Recompute = Literal["none", "selective", "full"]
"""What of a block is computed again: nothing, all but matrix products, or everything."""

# The results of matrix products are expensive and small. The rest is cheap to compute again.
MATMULS = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default]


def recompute_blocks(blocks: Iterable[nn.Module], what: Recompute, every: int = 1) -> None:
    """Wrap the forward of blocks in place. The names of the weights do not change, and dropout draws the same again.

    Args:
        blocks: The blocks in order.
        what: See `Recompute`.
        every: Each ``every``-th block is wrapped, from the first.

    Raises:
        ValueError: If ``what`` is another word, or ``every`` is below 1.
    """
    if what not in get_args(Recompute):
        raise ValueError(f"recompute={what!r} must be one of {', '.join(get_args(Recompute))}.")
    if every < 1:
        raise ValueError(f"recompute_every={every} must be 1 or more. recompute='none' recomputes nothing.")
    if what == "none":
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if what == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, MATMULS)
    for block in islice(blocks, 0, None, every):
        block.forward = partial(checkpoint, block.forward, **options)  # type: ignore[method-assign]
