"""Which stage lies on which rank, and in what order micro-batches pass."""

from dataclasses import dataclass
from typing import Any, Literal

from torch.distributed.pipelining import (
    Schedule1F1B,
    ScheduleGPipe,
    ScheduleInterleaved1F1B,
    ScheduleInterleavedZeroBubble,
    ScheduleZBVZeroBubble,
)

ScheduleName = Literal["gpipe", "1f1b", "interleaved", "zero_bubble", "zbv"]
SCHEDULES: dict[str, Any] = {
    "gpipe": ScheduleGPipe,
    "1f1b": Schedule1F1B,
    "interleaved": ScheduleInterleaved1F1B,
    "zero_bubble": ScheduleInterleavedZeroBubble,
    "zbv": ScheduleZBVZeroBubble,
}
ONE_STAGE = ("gpipe", "1f1b")


@dataclass(frozen=True)
class Pipeline:
    """How a batch passes the stages.

    Attributes:
        schedule: ``gpipe`` and ``1f1b`` (arXiv 2104.04473) have one stage a rank. ``interleaved`` (same) and
            ``zero_bubble`` (arXiv 2401.10241) have ``stages_per_rank``, dealt out in turn. ``zbv`` has two a rank, in a
            V.
        micro_batches: Pieces of a batch. Its rows must divide.
        stages_per_rank: Stages of a rank under interleaved and zero_bubble.

    Raises:
        ValueError: If the schedule is unknown, or cannot use the numbers.
    """

    schedule: ScheduleName = "1f1b"
    micro_batches: int = 4
    stages_per_rank: int = 1

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule={self.schedule!r} must be one of {', '.join(SCHEDULES)}.")
        needed = 1 if self.schedule in ONE_STAGE else 2
        fits = self.stages_per_rank == needed if self.schedule in (*ONE_STAGE, "zbv") else self.stages_per_rank >= 2
        if not fits:
            raise ValueError(
                f"stages_per_rank={self.stages_per_rank} must be {needed}{' or more' * (needed == 2)} under "
                f"schedule={self.schedule}."
            )
        if self.micro_batches < 1:
            raise ValueError(f"micro_batches={self.micro_batches} must be 1 or more.")

    def stages_of(self, rank: int, ranks: int) -> list[int]:
        """Indices of the stages on a rank."""
        if self.schedule == "zbv":
            return [rank, 2 * ranks - 1 - rank]
        return [rank + turn * ranks for turn in range(self.stages_per_rank)]

    def make(self, stages: list[Any], loss: Any) -> Any:
        """The schedule of torch over this rank's stages. Gradients of loss sums are not scaled."""
        kind = SCHEDULES[self.schedule]
        where = stages[0] if self.schedule in ONE_STAGE else stages
        return kind(where, n_microbatches=self.micro_batches, loss_fn=loss, scale_grads=False)


def blocks_of_stages(blocks: int, stages: int) -> list[range]:
    """Blocks of every stage, as even as can be. The earlier stages take what is over.

    Args:
        blocks: Number of blocks.
        stages: Number of stages.

    Raises:
        ValueError: If there are more stages than blocks.
    """
    if stages > blocks:
        raise ValueError(
            f"{stages} pipeline stages must not be more than {blocks} blocks. They are pipeline x stages_per_rank."
        )
    sizes = [blocks // stages + (index < blocks % stages) for index in range(stages)]
    starts = [sum(sizes[:index]) for index in range(stages)]
    return [range(start, start + size) for start, size in zip(starts, sizes, strict=True)]
