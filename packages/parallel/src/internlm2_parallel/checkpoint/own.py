"""What each rank has of its own beside tensors: random state, and the position of its loader."""

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils import _pytree as pytree

from internlm2_parallel.checkpoint.state import random_state, set_random_state


def write_own(draft: Path, layout: str, checkpoint: dict[str, Any]) -> None:
    """Write what is not split.

    Args:
        draft: The draft of the checkpoint.
        layout: Description of the layout.
        checkpoint: Lightning's dictionary without tensors. That of the first rank is written.
    """
    loader = loop_of(checkpoint).get("combined_loader", {})
    own = {"layout": layout, "random": random_state(), "loader": loader}
    torch.save(own, draft / f"rank-{dist.get_rank()}.pt")
    if dist.get_rank() == 0:
        torch.save(checkpoint, draft / "trainer.pt")


def restore_own(source: Path, checkpoint: dict[str, Any], layout: str, weights_only: bool) -> None:
    """Put back what was this rank's under the same layout. Under another one, what all ranks had alike. Collective.

    Args:
        source: The checkpoint.
        checkpoint: What `write_own` wrote of the first rank. Its loader becomes this rank's.
        layout: Description of the present layout.
        weights_only: See ``torch.load``.

    Raises:
        ValueError: If the layout is another one and the loaders were in different states.
    """

    def of_rank(rank: int) -> dict[str, Any]:
        return dict(torch.load(source / f"rank-{rank}.pt", map_location="cpu", weights_only=weights_only))

    then = of_rank(0)
    if then["layout"] == layout:
        mine = of_rank(dist.get_rank())
        set_random_state(mine["random"])
        if mine["loader"]:
            loop_of(checkpoint)["combined_loader"] = mine["loader"]
        return
    differs = [False]
    if dist.get_rank() == 0:
        ranks = len(list(source.glob("rank-*.pt")))
        differs = [any(not are_equal(then["loader"], of_rank(rank)["loader"]) for rank in range(1, ranks))]
    dist.broadcast_object_list(differs)
    if differs[0]:
        raise ValueError(
            f"ckpt_path={source} was taken under layout {then['layout']}, whose ranks had loaders in different states. "
            f"Layout {layout} cannot share them. Resume under that one, or read with a loader whose state is the same "
            "on every rank."
        )


def loop_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """The state of the loop over batches, where there is one."""
    found: dict[str, Any] = checkpoint.get("loops", {}).get("fit_loop", {}).get("state_dict", {})
    return found


def are_equal(one: Any, other: Any) -> bool:
    """Whether two nested states hold the same.

    Args:
        one: Mappings and lists of tensors and plain values.
        other: The same.
    """
    (ours, shape), (theirs, other_shape) = pytree.tree_flatten(one), pytree.tree_flatten(other)

    def same(a: Any, b: Any) -> bool:
        return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else bool(a == b)

    return shape == other_shape and all(map(same, ours, theirs))
