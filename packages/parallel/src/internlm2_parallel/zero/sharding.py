"""How far each kind of state is split (report section 2.1; AMSP, arXiv 2311.00257).

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
        parameters: of the weights while a step computes.
        gradients: of the gradients between the micro-batches of a step.
        optimizer: of the optimizer state, and of the weights between steps.

    Raises:
        ValueError: an unknown extent, weights or gradients split further than the optimizer state, or gradients
            over the sub-group under optimizer state over all.
    """

    parameters: Extent = "full"
    gradients: Extent = "full"
    optimizer: Extent = "full"

    def __post_init__(self) -> None:
        for name in ("parameters", "gradients", "optimizer"):
            if getattr(self, name) not in EXTENTS:
                raise ValueError(
                    f"sharding.{name}={getattr(self, name)!r} is none of {', '.join(EXTENTS)}; set "
                    f"strategy.treatment.sharding.{name} to one."
                )
        finest = EXTENTS.index(self.optimizer)
        for name in ("parameters", "gradients"):
            if EXTENTS.index(getattr(self, name)) > finest:
                raise ValueError(
                    f"sharding.{name}={getattr(self, name)} is split further than sharding.optimizer={self.optimizer}; "
                    f"set strategy.treatment.sharding.{name}={self.optimizer} or "
                    f"strategy.treatment.sharding.optimizer={getattr(self, name)}."
                )
        if (self.gradients, self.optimizer) == ("partial", "full"):
            raise ValueError(
                "sharding.gradients=partial under sharding.optimizer=full would reduce gradients twice; "
                "set strategy.treatment.sharding.gradients=full or replica."
            )
