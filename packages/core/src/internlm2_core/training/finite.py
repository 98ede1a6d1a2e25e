"""What is not finite never reaches the weights, a checkpoint or an export.

A step whose loss or gradient is not finite on any rank is left out on all of them. One such step is a bad batch or an
overflow, and the run continues as if it had not been. Many in a row mean that the weights themselves are broken.
"""

import logging
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from internlm2_core.shares import ChecksCopies

log = logging.getLogger(__name__)


class NotFiniteError(FloatingPointError):
    """Training ends, or something is not written, because numbers are not finite."""


class LeftOut:
    """Counts the steps that were left out, and ends the run after too many in a row.

    Args:
        most: Steps in a row that may be left out because something is not finite. As many end the run.

    Attributes:
        total: Steps left out so far, for whatever reason.

    Raises:
        ValueError: If ``most`` is below 1.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"most_left_out={most} must be 1 or more.")
        self.most, self.total = most, 0
        self._in_a_row: dict[int, int] = {}

    def state_dict(self) -> dict[str, Any]:
        """The counts, which continue in a resumed run."""
        return {"total": self.total, "in_a_row": dict(self._in_a_row)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue."""
        self.total, self._in_a_row = state["total"], dict(state["in_a_row"])

    def note(self, index: int, is_finite: bool, is_taken: bool) -> None:
        """Count a step.

        Args:
            index: Which optimizer's step it was.
            is_finite: Whether loss and gradient were.
            is_taken: Whether the weights were changed.
        """
        self.total += not is_taken
        self._in_a_row[index] = 0 if is_finite else self._in_a_row.get(index, 0) + 1

    def end_if_too_many(self, index: int, module: L.LightningModule, figures: Mapping[str, float]) -> None:
        """Say that a step was left out because something is not finite, or end the run.

        Args:
            index: Which optimizer's step it was.
            module: Whose weights were not changed.
            figures: Of the step on this rank, such as its loss and the norm of its gradient.

        Raises:
            NotFiniteError: If there were too many in a row.
        """
        step, count = module.global_step, self._in_a_row[index]
        said = ", ".join(f"{name} {figure:.4g}" for name, figure in figures.items())
        if count >= self.most:
            broken = first_not_finite(module.named_parameters())
            weights = f"{broken} is not finite" if broken else "the weights are finite"
            raise NotFiniteError(
                f"After step {step}, {count} steps in a row were not finite (the last: {said}), and "
                f"most_left_out={self.most} ends the run. Here {weights}. Resume from the last checkpoint with a lower "
                "learning rate, or look at the data that follow it."
            )
        if module.trainer.is_global_zero:
            log.warning("A step after step %d is left out: %s (%d in a row)", step, said, count)


def are_finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all numbers of this rank are finite.

    Args:
        tensors: Any shapes, [...] each.
    """
    local = [tensor.to_local() if isinstance(tensor, DTensor) else tensor for tensor in tensors]
    found = [is_finite(tensor.detach()).to("cpu") for tensor in local if tensor.numel()]
    return not found or bool(torch.stack(found).all())


def is_finite(tensor: Tensor) -> Tensor:
    """Whether all numbers are finite, a scalar. It is asked at every save: extremes are found in one pass over memory.

    Args:
        tensor: Not empty, [...].
    """
    if tensor.is_floating_point():
        tensor = torch.stack(tensor.aminmax())  # not a number, if any is
    return tensor.isfinite().all()


def first_not_finite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """Name of the first tensor with a number that is not finite on this rank, if there is one.

    Args:
        named: Names and tensors, [...] each.
    """
    return next((name for name, tensor in named if not are_finite([tensor])), None)


def refuse_what_is_not_finite(module: L.LightningModule, what: str, with_optimizers: bool = False) -> None:
    """Refuse to write a module in training whose numbers are not finite. Collective.

    Args:
        module: Attached to its trainer.
        what: What would be written.
        with_optimizers: Whether the state of the optimizers is written too.

    Raises:
        NotFiniteError: If weights, or moments, are not finite on any rank.
    """
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    optimizers = module.trainer.optimizers if with_optimizers else []
    is_fine = are_finite([*trained, *(value for optimizer in optimizers for value in moments(optimizer))])
    if module.trainer.strategy.reduce_boolean_decision(is_fine, all=True):
        return
    raise not_written(what, module.global_step, first_not_finite(module.named_parameters()))


def refuse_checkpoint(module: L.LightningModule) -> None:
    """Refuse to write a checkpoint of a module in training whose numbers are not finite. Collective.

    A strategy that writes in the background checks what it writes there, and training does not wait for it.

    Args:
        module: Attached to its trainer.

    Raises:
        NotFiniteError: If weights, or moments, are not finite on any rank.
    """
    strategy = module.trainer.strategy
    frozen = {name for name, weight in module.named_parameters() if not weight.requires_grad}
    check = partial(refuse_copy, module.global_step, frozen | {name for name, _ in module.named_buffers()})
    if not (isinstance(strategy, ChecksCopies) and strategy.check_copy(check)):
        refuse_what_is_not_finite(module, "The checkpoint", with_optimizers=True)


def refuse_copy(step: int, untrained: Collection[str], state: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to write a state whose numbers are not finite.

    Args:
        step: Optimizer steps that it has taken.
        untrained: Names of weights that are not checked.
        state: This rank's part by kind and name.

    Raises:
        NotFiniteError: If weights that are trained, or moments, are not finite.
    """
    for kind, entries in state.items():
        tensors = ((name, value) for name, value in entries.items() if isinstance(value, Tensor))
        if broken := first_not_finite((name, value) for name, value in tensors if name not in untrained):
            raise not_written("The checkpoint", step, broken if kind == "weights" else None)


def not_written(what: str, step: int, broken: str | None) -> NotFiniteError:
    """The error of something that is not written.

    Args:
        what: What would be written.
        step: Of which optimizer step.
        broken: Name of a weight that is not finite. None if all are.
    """
    return NotFiniteError(
        f"{what} of step {step} is not written, since {broken or 'the state of the optimizer'} is not finite. What was "
        "written before it is as it was."
    )


def moments(optimizer: Optimizer) -> list[Tensor]:
    """Tensors of an optimizer's state, [...] each."""
    fields = (field for state in optimizer.state.values() for field in state.values())
    return [field for field in fields if isinstance(field, Tensor) and field.is_floating_point()]
