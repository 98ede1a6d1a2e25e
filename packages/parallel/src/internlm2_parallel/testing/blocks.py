"""Blocks that are computed again in the backward pass, as a module wraps them itself in ``configure_model``."""

from functools import partial

import torch
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from internlm2_parallel.search.plans import Kept


def keep_only(layers: nn.ModuleList, keeps: Kept) -> None:
    """Wrap all blocks in place, by both of torch's ways: one changes names of modules, the other does not.

    Args:
        layers: The blocks.
        keeps: ``matmuls`` keeps the results of matrix products (``checkpoint_wrapper``), ``nothing`` recomputes a block
            whole (``checkpoint``), ``all`` recomputes nothing.
    """
    for index, block in enumerate(layers):
        if keeps == "matmuls":
            matmuls = [torch.ops.aten.mm.default, torch.ops.aten.bmm.default]
            contexts = partial(create_selective_checkpoint_contexts, matmuls)
            layers[index] = checkpoint_wrapper(block, context_fn=contexts)
        elif keeps == "nothing":
            block.forward = partial(  # type: ignore[method-assign]
                checkpoint, block.forward, use_reentrant=False
            )
