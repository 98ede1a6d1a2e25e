"""Settings of optimizers and schedules are those that a run is given, not those that a checkpoint brings.

A checkpoint holds the settings it was taken under beside the moments. Where both are the same, nothing happens here.
Where a run is given another learning rate, decay or schedule, it takes effect at the step at which the run resumes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

Settings = Sequence[Sequence[Mapping[str, Any]]]
"""Of each group of each optimizer."""

MOVING = ("params", "lr", "initial_lr")
"""What is not simply put back: a schedule moves the learning rate."""


def settings_of(optimizers: Sequence[Optimizer]) -> Settings:
    """Settings of fresh optimizers, to be kept over the restoring of a checkpoint."""
    return [
        [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        for optimizer in optimizers
    ]


def keep(settings: Settings, optimizers: Sequence[Optimizer], schedules: Sequence[LRScheduler]) -> None:
    """Put settings back after a checkpoint was restored.

    A learning rate that a schedule has moved is moved from the one given here: exactly where the schedule is a factor
    of the step, and by the quotient of the two for torch's other schedulers.

    Args:
        settings: See `settings_of`.
        optimizers: As restored.
        schedules: As restored.
    """
    for optimizer, groups in zip(optimizers, settings, strict=True):
        for group, given in zip(optimizer.param_groups, groups, strict=True):
            restored, wanted = (side.get("initial_lr", side["lr"]) for side in (group, given))
            if wanted != restored:
                group["lr"] = group["lr"] * (wanted / restored) if restored else wanted
            group.update({key: value for key, value in given.items() if key not in MOVING})
            if "initial_lr" in given:
                group["initial_lr"] = wanted
    for schedule in schedules:
        groups = schedule.optimizer.param_groups
        schedule.base_lrs = [group["initial_lr"] for group in groups]
        if isinstance(schedule, LambdaLR):
            for group, factor in zip(groups, schedule.lr_lambdas, strict=True):
                group["lr"] = group["initial_lr"] * factor(schedule.last_epoch)
