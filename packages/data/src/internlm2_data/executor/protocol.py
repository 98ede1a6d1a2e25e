"""What a stage asks of an executor."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Failure:
    """A task that was tried as often as it may be.

    Attributes:
        what: The last error, in one line.
    """

    what: str


class Executor(Protocol):
    """Runs a function over tasks."""

    def map(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R | Failure]:
        """Results in the order of `tasks`. Function and tasks can be pickled and do not depend on each other."""

    def close(self) -> None:
        """Give back what it holds."""


def attempt(function: Callable[[T], R], task: T, attempts: int) -> R | Failure:
    """The result of a task, tried up to `attempts` times.

    Args:
        function: What to call.
        task: Its argument.
        attempts: How often to try.
    """
    for number in range(attempts):
        try:
            return function(task)
        except Exception as error:
            if number + 1 == attempts:
                return failed(error)
    raise AssertionError(attempts)


def failed(error: BaseException) -> Failure:
    """A failure that names the error."""
    return Failure(f"{type(error).__name__}: {error}")
