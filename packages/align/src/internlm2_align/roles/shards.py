"""State on its way between processes goes in parts of a limited size, so that none holds a second copy of all of it."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, TypeVar

from torch import Tensor
from torch.utils import _pytree as pytree

Name = TypeVar("Name", bound=Hashable)

SHARD_BYTES = 2**28


def shards(items: Iterable[tuple[Name, Any]], limit_bytes: int) -> Iterator[dict[Name, Any]]:
    """Named state in parts. The last part may be empty.

    Args:
        items: Names, and tensors or trees of them.
        limit_bytes: Most bytes of a part. Something larger goes alone.
    """
    shard: dict[Name, Any] = {}
    taken = 0
    for name, value in items:
        own = sum(leaf.nbytes for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor))
        if shard and taken + own > limit_bytes:
            yield shard
            shard, taken = {}, 0
        shard[name], taken = value, taken + own
    yield shard
