"""Layout: how many ranks share each axis of the work, settled once and together.

    world = pipeline x replicate x shard x context x tensor        (tensor ranks are neighbours)

============  ==================================================  ===================================================
axis          ranks along it                                      what must divide
============  ==================================================  ===================================================
pipeline      hold different blocks                               blocks >= stages
replicate     hold the same weights, read different rows          -
shard         split the state of the weights, read different rows -
context       read the same rows, each a part of the tokens       tokens by 2 x context (x tensor, if sequence parallel)
tensor        read the same tokens, each a part of every matrix   kv heads, vocabulary and FFN width by tensor
============  ==================================================  ===================================================

Everything is checked before a process group exists: afterwards a wrong size is a shape error on one rank and a hang on
the others.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

AXES = ("pipeline", "replicate", "shard", "context", "tensor")


class NetShape(Protocol):
    """Sizes of a LLaMA-like network that a layout must divide. Any object with these attributes serves."""

    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def num_kv_heads(self) -> int: ...  # noqa: D102
    @property
    def q_per_kv(self) -> int: ...  # noqa: D102
    @property
    def ffn_dim(self) -> int: ...  # noqa: D102
    @property
    def vocab_size(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Layout:
    """Degrees of parallelism. At most one may be -1, which takes the ranks that the others leave.

    Attributes:
        pipeline: Stages.
        replicate: Copies of the sharded weights.
        shard: Ranks that share one copy of the weights' state (FSDP).
        context: Ranks that share the tokens of a row.
        tensor: Ranks that share every matrix.
        sequence_parallel: Split the activations between the matrices along the tokens over the tensor ranks too
            (Korthikanti et al., arXiv 2205.05198).

    Raises:
        ValueError: If a degree is neither -1 nor positive, two are -1, or sequence_parallel comes without tensor ranks.
    """

    pipeline: int = 1
    replicate: int = 1
    shard: int = 1
    context: int = 1
    tensor: int = 1
    sequence_parallel: bool = False

    def __post_init__(self) -> None:
        wrong = [axis for axis in AXES if (degree := getattr(self, axis)) != -1 and degree < 1]
        if wrong:
            raise ValueError(
                f"{wrong[0]}={getattr(self, wrong[0])} in layout {self} is below 1. It must be 1 or more, or -1 for "
                "the rest."
            )
        free = [axis for axis in AXES if getattr(self, axis) == -1]
        if len(free) > 1:
            raise ValueError(
                f"Layout {self} leaves {len(free)} degrees open. All but one of {', '.join(free)} must be 1 or more."
            )
        if self.sequence_parallel and self.tensor == 1:
            raise ValueError(f"sequence_parallel=True in layout {self} needs tensor=2 or more.")

    def __str__(self) -> str:
        return " x ".join(f"{axis}={getattr(self, axis)}" for axis in AXES)

    @property
    def ranks(self) -> int:
        """Product of all degrees (of a settled layout)."""
        return math.prod(getattr(self, axis) for axis in AXES)

    @property
    def data_parallel_size(self) -> int:
        """Ranks that read different rows."""
        return self.replicate * self.shard

    def settled(self, world_size: int) -> "Layout":
        """The layout with its open degree filled, for a world of that size.

        Raises:
            ValueError: If the degrees do not multiply to the world size. The message names them all.
        """
        free = [axis for axis in AXES if getattr(self, axis) == -1]
        fixed = abs(self.ranks)
        if free and world_size % fixed == 0:
            degrees: Any = {free[0]: world_size // fixed}
            return replace(self, **degrees)
        if free or fixed != world_size:
            raise ValueError(
                f"Layout {self} = {fixed}{' x ?' if free else ''} ranks does not fill a world of {world_size}. The "
                f"product of its degrees must be {world_size} (one may be -1), or the Trainer's devices x num_nodes "
                f"{fixed}."
            )
        return self

    def check(self, shape: NetShape, tokens: int | None = None) -> None:
        """Refuse a network or a row length that the degrees do not divide, naming all complaints at once.

        Args:
            shape: Sizes of the network.
            tokens: Length of a row. None where it is not known yet.

        Raises:
            ValueError: If something does not divide.
        """
        complaints = [*self._weight_complaints(shape), *self._token_complaints(tokens)]
        if complaints:
            raise ValueError(f"Layout {self} does not fit: {', and '.join(complaints)}.")

    def _weight_complaints(self, shape: NetShape) -> list[str]:
        sizes = {"kv heads": shape.num_kv_heads, "vocabulary": shape.vocab_size, "FFN width": shape.ffn_dim}
        found = [f"{name} {size} % tensor={self.tensor} != 0" for name, size in sizes.items() if size % self.tensor]
        if self.pipeline > shape.layers:
            found.append(f"pipeline={self.pipeline} stages for {shape.layers} blocks")
        return found

    def _token_complaints(self, tokens: int | None) -> list[str]:
        if tokens is None:
            return []
        parts = (2 * self.context if self.context > 1 else 1) * (self.tensor if self.sequence_parallel else 1)
        return (
            [f"{tokens} tokens in a row % {parts} (2 x context, x tensor where sequence_parallel) != 0"]
            if tokens % parts
            else []
        )


def describe(layout: Layout) -> str:
    """Only the degrees that differ from one process, for names of tests and runs."""
    shown = [f"{f.name}{getattr(layout, f.name)}" for f in fields(layout) if getattr(layout, f.name) not in (1, False)]
    return "-".join(shown) or "single"
