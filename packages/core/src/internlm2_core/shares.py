"""Which rows a process reads."""

import lightning as L


def share_of(trainer: L.Trainer) -> dict[str, int]:
    """``rank`` and ``num_replicas`` of this process among those that read different rows.

    Every parallel strategy of Lightning says so; the others have none and read everything.
    """
    return getattr(trainer.strategy, "distributed_sampler_kwargs", None) or {"rank": 0, "num_replicas": 1}
