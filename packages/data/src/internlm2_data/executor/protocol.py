"""What a stage asks of an executor."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that was tried as often as it may be.

    Attributes:
        what: the last error, in one line.
    """

    what: str


class Executor(Protocol):
    """Runs a function over tasks."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Failure]:
        """Results in the order of `tasks`. Function and tasks can be pickled and do not depend on each other."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...
