"""What modules, data and callbacks ask of a strategy, as protocols. Strategies of other packages meet them by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypedDict, runtime_checkable

import lightning as L
from torch import Tensor, nn


class Share(TypedDict):
    """Which rows a process reads.

    Attributes:
        rank: Index of this process among those that read different rows.
        num_replicas: How many they are.
    """

    rank: int
    num_replicas: int


@runtime_checkable
class SharesRows(Protocol):
    """A strategy of several processes. Every parallel strategy of Lightning is one."""

    @property
    def distributed_sampler_kwargs(self) -> Share | None:
        """The share of this process."""


@runtime_checkable
class SaysHowWeightsLie(Protocol):
    """A strategy that says where a network's weights are while it computes.

    Attributes:
        gathers_weights: Whether a forward pass waits for weights of other ranks.
        splits_rows: Whether a row's tokens are spread over ranks (context parallelism).
        splits_layers: Whether matrices or blocks are spread over ranks (tensor or pipeline parallelism).
        has_stages: Whether blocks are spread over ranks. A network then gives losses, and neither logits nor scores.
    """

    @property
    def gathers_weights(self) -> bool: ...  # noqa: D102

    @property
    def splits_rows(self) -> bool: ...  # noqa: D102

    @property
    def splits_layers(self) -> bool: ...  # noqa: D102

    @property
    def has_stages(self) -> bool: ...  # noqa: D102


@runtime_checkable
class GathersWholeWeights(Protocol):
    """A strategy that puts a network's weights together itself."""

    def whole_weights(self, net: nn.Module) -> dict[str, Tensor]:
        """All weights by name, [...] each, on the CPU of the first rank, and nothing on the others. Collective."""


@runtime_checkable
class WritesInBackground(Protocol):
    """A strategy that may still be writing a checkpoint when the next step begins."""

    def finish_writing(self) -> None:
        """Wait until everything is on disk."""


@runtime_checkable
class ChecksCopies(Protocol):
    """A strategy that writes checkpoints from a copy of the state and has time to check it."""

    def check_copy(self, check: Callable[[Mapping[str, Mapping[str, Any]]], None]) -> bool:
        """Check the next checkpoint before it gets its name.

        Args:
            check: Raises if the copy must not be written, this rank's part by kind (``weights``, ``optimizer_N``) and
                name. The run ends in what it raises, at the next checkpoint or at its end.

        Returns:
            Whether it will be called.
        """


@runtime_checkable
class KeepsCheckpointsElsewhere(Protocol):
    """A strategy that copies checkpoints to a store, from which a run resumes whose disk is gone."""

    def newest_elsewhere(self, folder: Path) -> Path | None:
        """Where the newest checkpoint of the store will be once it is loaded, if none here is as new.

        Args:
            folder: The checkpoints of the run.
        """


@runtime_checkable
class CopiesWholeWeights(Protocol):
    """A strategy under which every rank can have a whole copy of a network, and ranks that read the same rows agree."""

    def each_whole_weight(self, net: nn.Module) -> Iterator[tuple[str, Tensor]]:
        """Whole weights by name, [...] each, one at a time, on every rank. Collective."""

    def of_first_peer(self, value: Any) -> Any:
        """The value of the first of the ranks that read the same rows as this one. Collective among them."""


@runtime_checkable
class SharesCopies(Protocol):
    """A strategy under which neighbouring ranks can have a copy of a network together."""

    def shared_copy(self, copy: nn.Module, net: nn.Module, ranks: int) -> AbstractContextManager[Any]:
        """Inside, a copy has the weights of a network, split over a group of ranks that wait for nobody else.

        Entering is collective over all ranks.

        Args:
            copy: On the meta device. It has no weights any more afterwards.
            net: A network in training.
            ranks: Of a group. They are neighbours.

        Returns:
            A context that gives the group of this rank, as ``reduce`` of the strategy takes it.
        """


@runtime_checkable
class ClipsByNorm(Protocol):
    """A strategy that knows how gradients are spread over its ranks."""

    def clip_by_norm(self, weights: Sequence[Tensor], max_norm: float) -> Tensor:
        """Clip all gradients to a global norm, and give their norm before, a scalar. Collective.

        Args:
            weights: This rank's parameters, [...] each.
            max_norm: Limit of the 2-norm. Infinity clips nothing.
        """


@runtime_checkable
class KnowsReplicas(Protocol):
    """A strategy that knows before processes are started how many will read different rows."""

    @property
    def data_parallel_size(self) -> int:
        """How many they are."""


def share_of(trainer: L.Trainer) -> Share:
    """The share of this process. A strategy without one reads everything."""
    share = trainer.strategy.distributed_sampler_kwargs if isinstance(trainer.strategy, SharesRows) else None
    return share or {"rank": 0, "num_replicas": 1}


def place_of(data: L.LightningDataModule) -> tuple[int, int]:
    """Rank of the process that data are loaded for among those that read different rows, and how many they are."""
    assert data.trainer is not None
    share = share_of(data.trainer)
    return share["rank"], share["num_replicas"]


def replicas_of(trainer: L.Trainer) -> int:
    """Processes that will read different rows. Known before they are started, unlike which of them this is."""
    if isinstance(trainer.strategy, KnowsReplicas):
        return trainer.strategy.data_parallel_size
    return trainer.num_nodes * trainer.num_devices
