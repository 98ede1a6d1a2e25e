"""Nothing that is not finite is learned from, reported or written."""

import math
from collections.abc import Mapping
from pathlib import Path

from internlm2_core.training.finite import NotFiniteError, first_not_finite
from torch import Tensor


def check_weights(tensors: Mapping[str, Tensor], folder: str | Path) -> None:
    """Refuse to write weights that are not finite.

    Args:
        tensors: Weights by name.
        folder: Where they were to be written.

    Raises:
        ValueError: If a value is nan or infinite.
    """
    if name := first_not_finite(tensors.items()):
        raise ValueError(
            f"{folder} is not written: {name} holds values that are nan or infinite. Go back to an earlier checkpoint "
            "and lower the learning rate."
        )


def not_finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Those of some figures that are nan or infinite."""
    return {name: value for name, value in figures.items() if not math.isfinite(value)}


def check_figures(figures: Mapping[str, float], when: str) -> None:
    """Refuse to choose by figures that are not finite.

    Args:
        figures: Numbers by name, the same on all ranks, so that all of them stop.
        when: Where in training they were taken, for the message.

    Raises:
        NotFiniteError: If one is nan or infinite.
    """
    for name, value in not_finite(figures).items():
        raise NotFiniteError(
            f"{name}={value} {when} must be finite. What was written before is whole. Lower the learning rate, or "
            "take a wider precision."
        )
