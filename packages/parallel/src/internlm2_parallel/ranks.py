"""What a data loader has to know of the layout: which share of the rows is mine."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from lightning.pytorch.strategies import Strategy


@runtime_checkable
class SharesRows(Protocol):
    """A strategy whose ranks read different rows: Lightning's parallel strategies and `MeshStrategy`."""

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """``rank`` and ``num_replicas`` of this process."""


class DataParallel(NamedTuple):
    """Share of the rows that a rank reads.

    Attributes:
        rank: Index among the ranks that read different rows.
        size: Number of them.
    """

    rank: int
    size: int


def data_parallel_of(strategy: Strategy) -> DataParallel:
    """The share of the current rank under any Lightning strategy. Single-device strategies read everything."""
    if not isinstance(strategy, SharesRows):
        return DataParallel(0, 1)
    share = strategy.distributed_sampler_kwargs
    return DataParallel(share["rank"], share["num_replicas"])
