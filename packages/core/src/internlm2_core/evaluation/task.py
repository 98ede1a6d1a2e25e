"""What a task is: it examines a model, and gives figures and the single answers behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, runtime_checkable

from internlm2_core.evaluation.subject import Subject

Progress = Callable[[int, int], None]
"""Called with (done, total), in whatever unit the task counts."""


@dataclass(frozen=True)
class Result:
    """Outcome of a task.

    Attributes:
        figures: JSON values, laid out as ``schema.json`` says for the task's kind.
        samples: One JSON object per question asked, for people who want to see why.
    """

    figures: Mapping[str, Any]
    samples: list[dict[str, Any]] = field(default_factory=list)


class Task(Protocol):
    """One examination.

    Attributes:
        kind: Names the layout of its figures.
        version: Raised whenever the same model would get other figures.
    """

    kind: ClassVar[str]
    version: ClassVar[int]

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Examine a model."""


@runtime_checkable
class Prepared(Protocol):
    """A task that looks for what it needs before any task of the suite is run."""

    def prepare(self, subject: Subject) -> None:
        """Read what is needed, or say what is missing.

        Args:
            subject: The model.
        """
