"""How far each kind of state is split (report section 2.1, and AMSP, arXiv 2311.00257).

Extents over a data group of ``replicate x shard`` ranks: ``replica`` everywhere whole, ``partial`` split over the shard
ranks and copied over the replicate ranks, ``full`` split over all of them.

==========  ==========  ==========  ===============================================================================
parameters  gradients   optimizer   known as
==========  ==========  ==========  ===============================================================================
replica     replica     replica     DDP
replica     replica     full        ZeRO-1: one reduce-scatter per step, weights gathered once per step
replica     full        full        ZeRO-2: gradients leave after every micro-batch
partial     full        full        weights gathered again from the shard ranks only (MiCS, ZeRO++ hpZ)
full        full        full        ZeRO-3, FSDP
replica     replica     partial     ZeRO-1 inside a sub-group
replica     partial     partial     ZeRO-2 inside a sub-group
partial     partial     partial     HSDP
==========  ==========  ==========  ===============================================================================

Between steps nothing but the optimizer's extent is kept: weights are stored as split as its state is.
"""

from dataclasses import dataclass
from typing import Literal

Extent = Literal["replica", "partial", "full"]
EXTENTS: tuple[Extent, ...] = ("replica", "partial", "full")


@dataclass(frozen=True)
class Sharding:
    """Extent of each kind of state.

    Attributes:
        parameters: Of the weights while a step computes.
        gradients: Of the gradients between the micro-batches of a step.
        optimizer: Of the optimizer state, and of the weights between steps.

    Raises:
        ValueError: If an extent is unknown, if weights or gradients are split further than the optimizer state, or if
            gradients are split over the sub-group under optimizer state over all.
    """

    parameters: Extent = "full"
    gradients: Extent = "full"
    optimizer: Extent = "full"

    def __post_init__(self) -> None:
        for name, extent in vars(self).items():
            if extent not in EXTENTS:
                raise ValueError(f"{name}={extent!r} must be one of {', '.join(EXTENTS)}.")
        finest = EXTENTS.index(self.optimizer)
        for name, extent in vars(self).items():
            if EXTENTS.index(extent) > finest:
                raise ValueError(
                    f"{name}={extent} must not be split further than optimizer={self.optimizer}. Use "
                    f"{name}={self.optimizer} or optimizer={extent}."
                )
        if (self.gradients, self.optimizer) == ("partial", "full"):
            raise ValueError(
                "gradients=partial must not come with optimizer=full, which would reduce gradients twice. Use "
                "gradients=full or gradients=replica."
            )


SHARDINGS = {
    "ddp": Sharding("replica", "replica", "replica"),
    "zero1": Sharding("replica", "replica", "full"),
    "zero2": Sharding("replica", "full", "full"),
    "zero3": Sharding(),
    "hsdp": Sharding("partial", "partial", "partial"),
}
"""The usual ones by name."""
