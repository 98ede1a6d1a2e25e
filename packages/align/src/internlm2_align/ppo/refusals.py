"""What PPO refuses before it starts."""

from typing import Protocol, runtime_checkable

import lightning as L
from internlm2_core.shares import SaysHowWeightsLie


@runtime_checkable
class CountsIterations(Protocol):
    """Data that say how long PPO runs.

    Attributes:
        iterations: Iterations in all, the critic's warm-up included.
    """

    iterations: int


def check_strategy(trainer: L.Trainer) -> None:
    """Refuse strategies under which ranks wait for each other's weights while they sample.

    Ranks sample replies of different lengths and must not need each other then.

    Raises:
        ValueError: If the strategy gathers weights in a forward pass, or splits rows or layers, or does not say
            whether it does.
    """
    how = trainer.strategy
    name = type(how).__name__
    if isinstance(how, SaysHowWeightsLie):
        names = ("gathers_weights", "splits_rows", "splits_layers", "has_stages")
        if found := [f"{field}=True" for field in names if getattr(how, field)]:
            raise ValueError(
                f"PPO samples with whole weights on each rank, which {name} does not keep: {', '.join(found)}. Take "
                "ddp or zero1."
            )
    elif trainer.world_size > 1:
        raise ValueError(
            f"PPO samples with whole weights on each rank, and {name} does not say whether it keeps them whole (see "
            "internlm2_core.shares.SaysHowWeightsLie). Take ddp or zero1 of internlm2_parallel."
        )


def check_iterations(trainer: L.Trainer, iterations: int, warmup_iterations: int) -> None:
    """Refuse numbers that leave the actor unlearnt or its last state unmeasured.

    Args:
        trainer: Lightning's.
        iterations: Of the run.
        warmup_iterations: Those in which only the critic learns.

    Raises:
        ValueError: If the Trainer's settings do not fit the iterations.
    """
    if (epochs := trainer.max_epochs) != 1:
        raise ValueError(f"max_epochs={epochs} must be 1 in PPO: iterations={iterations} says how long it runs.")
    if warmup_iterations >= iterations:
        raise ValueError(
            f"warmup_iterations={warmup_iterations} must be below iterations={iterations}, or the actor never learns."
        )
    every = trainer.val_check_interval
    # 1.0 is Lightning's "at the end".
    if trainer.enable_validation and every != 1.0 and (not isinstance(every, int) or iterations % every):
        raise ValueError(
            f"val_check_interval={every} must divide iterations={iterations}, so that the last actor is validated."
        )
