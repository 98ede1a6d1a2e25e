"""Which rows a process reads."""

import lightning as L


def share_of(trainer: L.Trainer) -> dict[str, int]:
    """``rank`` and ``num_replicas`` of this process among those that read different rows.

    Every parallel strategy of Lightning says so; the others have none and read everything.
    """
    return getattr(trainer.strategy, "distributed_sampler_kwargs", None) or {"rank": 0, "num_replicas": 1}


def replicas_of(trainer: L.Trainer) -> int:
    """Processes that will read different rows; known before they are started, unlike which of them this is."""
    return getattr(trainer.strategy, "data_parallel_size", trainer.num_nodes * trainer.num_devices)
