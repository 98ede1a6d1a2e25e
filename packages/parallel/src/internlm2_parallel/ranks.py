"""What a data loader has to know of the layout: which share of the rows is mine."""

from typing import NamedTuple

from lightning.pytorch.strategies import Strategy


class DataParallel(NamedTuple):
    """Share of the rows that a rank reads.

    Attributes:
        rank: index among the ranks that read different rows.
        size: number of them.
    """

    rank: int
    size: int


def data_parallel_of(strategy: Strategy) -> DataParallel:
    """The share of the current rank under any Lightning strategy.

    Lightning's own parallel strategies and :class:`~internlm2_parallel.MeshStrategy` all answer
    ``distributed_sampler_kwargs``; single-device strategies have none and read everything. (A loader that must not
    depend on this package reads the same property.)
    """
    share = getattr(strategy, "distributed_sampler_kwargs", {"rank": 0, "num_replicas": 1})
    return DataParallel(share["rank"], share["num_replicas"])
