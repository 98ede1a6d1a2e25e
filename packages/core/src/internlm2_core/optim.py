"""AdamW groups, clipping and the learning-rate schedule of the recipe (report section 3.2)."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, ReduceLROnPlateau

MakeOptimizer = Callable[..., Optimizer]
Schedule = Callable[[int], float] | Callable[[Optimizer], LRScheduler]

DECAYS: dict[str, Callable[[float], float]] = {
    "linear": lambda done: 1 - done,
    "1-sqrt": lambda done: 1 - math.sqrt(done),
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
}
"""From 1 to 0 while a share of the decay is done."""

ADAMW = partial(torch.optim.AdamW, lr=3e-4, betas=(0.9, 0.95), eps=1e-8)
"""AdamW of the report (section 3.2). Weight decay is set by group."""


def decay_groups(net: nn.Module, weight_decay: float = 0.1) -> list[dict[str, object]]:
    """Two parameter groups: matrices decay, norms (one-dimensional) do not.

    Args:
        net: Parameters that do not require gradients are left out.
        weight_decay: Of the matrices.
    """
    trained = [weight for weight in net.parameters() if weight.requires_grad]
    return [
        {"params": [weight for weight in trained if weight.ndim > 1], "weight_decay": weight_decay},
        {"params": [weight for weight in trained if weight.ndim <= 1], "weight_decay": 0.0},
    ]


def optimizer_and_schedule(net: nn.Module, make: MakeOptimizer, schedule: Schedule, weight_decay: float) -> Any:
    """One optimizer over two groups and its schedule, in the form that Lightning's ``configure_optimizers`` returns.

    Args:
        net: What is trained.
        make: Makes the optimizer from parameter groups.
        schedule: Factor of the learning rate at a step counted from 0, or something that makes one of torch's
            schedulers from the optimizer, e.g. ``partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=100)``. It
            is a class, or a function with an argument ``optimizer``.
        weight_decay: Of the matrices.

    Raises:
        ValueError: If the scheduler waits for a figure.
    """
    optimizer = make(decay_groups(net, weight_decay))
    made_by = schedule.func if isinstance(schedule, partial) else schedule
    is_class = isinstance(made_by, type) and issubclass(made_by, LRScheduler)
    if not is_class and next(iter(inspect.signature(schedule).parameters), None) != "optimizer":
        # In a function of our own: the state of an object would go into checkpoints, and come back from them.
        return {"optimizer": optimizer, "lr_scheduler": LambdaLR(optimizer, lambda step: schedule(step))}  # type: ignore[call-arg,arg-type,return-value]
    scheduler = schedule(optimizer)  # type: ignore[arg-type]
    if isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError("schedule=ReduceLROnPlateau must be a scheduler that needs no figure to step.")
    return {"optimizer": optimizer, "lr_scheduler": scheduler}


@dataclass(frozen=True)
class OverSteps:
    """Factor of the learning rate over a known number of steps, with a linear warm-up. Subclasses say what follows it.

    Args:
        total_steps: Optimizer steps in all. -1 leaves them open until `over` says how many there are.
        warmup_steps: Steps of linear warm-up.

    Raises:
        ValueError: If the warm-up is longer than the run.
    """

    total_steps: int
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if self.total_steps != -1 and not 0 <= self.warmup_steps <= self.total_steps:
            raise ValueError(f"warmup_steps={self.warmup_steps} must be at most total_steps={self.total_steps}.")

    def over(self, steps: int) -> Self:
        """This schedule over so many steps, if they were left open.

        The warm-up then takes a tenth of them at most. Who does not count the steps cannot know whether it fits.
        """
        if self.total_steps != -1:
            return self
        return replace(self, total_steps=steps, warmup_steps=min(self.warmup_steps, steps // 10))

    def __call__(self, step: int) -> float:
        """Factor at optimizer step ``step``, counted from 0."""
        assert self.total_steps != -1, "see OverSteps.over"
        return (step + 1) / self.warmup_steps if step < self.warmup_steps else self.after_warmup(step)

    def after_warmup(self, step: int) -> float:
        """Factor at a step after the warm-up."""
        raise NotImplementedError


@dataclass(frozen=True)
class Cosine(OverSteps):
    """Linear warm-up, then a half cosine down to a share of the peak.

    Args:
        total_steps: See `OverSteps`.
        warmup_steps: See `OverSteps`.
        floor: What is left at the end, as a share of the peak (0.1 in the recipe).
    """

    floor: float = 0.1

    def after_warmup(self, step: int) -> float:
        """Factor at a step after the warm-up."""
        done = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return self.floor + (1 - self.floor) * DECAYS["cosine"](min(1.0, done))


@dataclass(frozen=True)
class WSD(OverSteps):
    """Warm-up, stable, decay (MiniCPM, arXiv 2404.06395): the peak is held, and only the last steps decay.

    Until the decay begins, the factor does not depend on the number of steps. So one stable run serves runs of several
    lengths: each resumes from a checkpoint before its own decay.

    Args:
        total_steps: See `OverSteps`.
        warmup_steps: See `OverSteps`.
        decay_fraction: Share of all steps that decay. 0.2 with ``1-sqrt`` equals the cosine's loss (arXiv 2405.18392).
        shape: How it decays: ``linear``, ``1-sqrt`` or ``cosine``.
        floor: What is left at the end, as a share of the peak.

    Raises:
        ValueError: If warm-up and decay together are longer than the run, or the shape is not known.
    """

    decay_fraction: float = 0.2
    shape: Literal["linear", "1-sqrt", "cosine"] = "1-sqrt"
    floor: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape not in DECAYS:
            raise ValueError(f"shape={self.shape!r} must be one of {', '.join(DECAYS)}.")
        if not 0 <= self.decay_fraction <= 1:
            raise ValueError(f"decay_fraction={self.decay_fraction} must be between 0 and 1.")
        if self.total_steps != -1 and self.warmup_steps + self.decay_steps > self.total_steps:
            raise ValueError(
                f"warmup_steps={self.warmup_steps} must be at most {self.total_steps - self.decay_steps}, which "
                f"decay_fraction={self.decay_fraction} leaves of total_steps={self.total_steps}."
            )

    @property
    def decay_steps(self) -> int:
        """Steps of the decay, the last ones of the run."""
        return round(self.total_steps * self.decay_fraction)

    def after_warmup(self, step: int) -> float:
        """Factor at a step after the warm-up."""
        done = (step - self.total_steps + self.decay_steps) / max(1, self.decay_steps)
        return self.floor + (1 - self.floor) * DECAYS[self.shape](min(1.0, max(0.0, done)))


@dataclass(frozen=True)
class Constant:
    """No decay: factor 1 after a linear warm-up.

    Args:
        warmup_steps: Steps of linear warm-up.
    """

    warmup_steps: int = 0

    def __call__(self, step: int) -> float:
        """Factor at optimizer step ``step``, counted from 0."""
        return min(1.0, (step + 1) / max(1, self.warmup_steps))
