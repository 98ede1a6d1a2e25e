"""Activations computed again in the backward pass (arXiv 1604.06174; keeping some, arXiv 2205.05198)."""

from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

MATMULS = (torch.ops.aten.mm.default, torch.ops.aten.addmm.default, torch.ops.aten.bmm.default)


@dataclass(frozen=True)
class Recompute:
    """Which blocks are computed again.

    Attributes:
        keep: "nothing" recomputes a block whole; "matmuls" keeps the results of matrix products and recomputes what is
            cheap between them.
        every: recompute each ``every``-th block; 1 is all of them, 0 none.

    Raises:
        ValueError: unknown ``keep`` or negative ``every``.
    """

    keep: Literal["nothing", "matmuls"] = "nothing"
    every: int = 1

    def __post_init__(self) -> None:
        if self.keep not in ("nothing", "matmuls"):
            raise ValueError(
                f"recompute.keep={self.keep!r} is neither nothing nor matmuls; "
                "set strategy.treatment.recompute.keep to one of them."
            )
        if self.every < 0:
            raise ValueError(
                f"recompute.every={self.every} is negative; set strategy.treatment.recompute.every to 0 (none) or more."
            )


def _keep_matmuls(context: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if op in MATMULS else CheckpointPolicy.PREFER_RECOMPUTE


def recompute_blocks(blocks: list[nn.Module], how: Recompute) -> None:
    """Wrap the forward of blocks in place. Weight names stay as they are.

    Args:
        blocks: the network's blocks in order.
        how: which and how.
    """
    if not how.every:
        return
    for block in blocks[:: how.every]:
        options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
        if how.keep == "matmuls":
            options["context_fn"] = partial(create_selective_checkpoint_contexts, _keep_matmuls)
        block.forward = partial(checkpoint, block.forward, **options)  # type: ignore[method-assign]
