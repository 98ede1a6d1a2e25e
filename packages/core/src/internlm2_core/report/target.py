"""Targets: what a run set out to reach, and whether it did."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from internlm2_core.report.source import Loaded

Outcome = Literal["reached", "missed", "unknown"]


@dataclass(frozen=True)
class Target:
    """A bound for one figure, or for all figures that a pattern finds.

    Attributes:
        title: The target in words.
        source: Title of the source that holds the figure.
        figure: Keys that lead to it. ``*`` means every key or entry, and then the worst figure counts.
        minus: Keys of another figure of the same source, which is subtracted. With ``*``, one for each.
        at_least: The lower bound, reached by equality.
        below: The upper bound, missed by equality.
        above: A lower bound that is missed by equality.

    Raises:
        ValueError: If there is not exactly one bound.
    """

    title: str
    source: str
    figure: Sequence[str]
    minus: Sequence[str] = ()
    at_least: float | None = None
    below: float | None = None
    above: float | None = None

    def __post_init__(self) -> None:
        if sum(bound is not None for bound in (self.at_least, self.below, self.above)) != 1:
            raise ValueError(f"The target {self.title!r} must have exactly one of at_least, below, above.")

    def check(self, run: str, loaded: Mapping[str, Loaded]) -> dict[str, Any]:
        """Its entry in ``report.json``.

        Args:
            run: Name of the run.
            loaded: Sources of the run by title.

        Returns:
            ``run``, ``title``, ``source``, ``figure``, ``bound`` in words, ``value`` (the worst, None where it is
            not known), ``outcome`` and ``simulated`` (the figure rests on the simulated annotator).

        Raises:
            ValueError: If no source has that title.
        """
        if self.source not in loaded:
            raise ValueError(f"source={self.source!r} of the target {self.title!r} must be one of {', '.join(loaded)}.")
        found = loaded[self.source]
        value = self._worst(found.figures)
        outcome: Outcome = "unknown" if value is None else "reached" if self._holds(value) else "missed"
        return {
            "run": run,
            "title": self.title,
            "source": self.source,
            "figure": list(self.figure),
            "minus": list(self.minus),
            "bound": self.bound,
            "value": value,
            "outcome": outcome,
            "simulated": found.source.simulated,
        }

    @property
    def bound(self) -> str:
        """The bound in words."""
        bounds = {"at least": self.at_least, "below": self.below, "above": self.above}
        return next(f"{words} {value:g}" for words, value in bounds.items() if value is not None)

    def _worst(self, figures: Mapping[str, Any]) -> float | None:
        values = list(find(figures, self.figure))
        if self.minus:
            others = list(find(figures, self.minus))
            # Keys with the same ``*`` find figures that belong together.
            values = [a - b for a, b in zip(values, others, strict=True)] if len(values) == len(others) else []
        if not values:
            return None
        return max(values) if self.below is not None else min(values)

    def _holds(self, value: float) -> bool:
        if self.at_least is not None:
            return value >= self.at_least
        if self.below is not None:
            return value < self.below
        return value > (self.above if self.above is not None else value)


def find(figures: Any, path: Sequence[Any]) -> Iterator[float]:
    """All numbers that keys lead to.

    Args:
        figures: JSON values.
        path: Keys. ``*`` takes every key of an object and every entry of a list.
    """
    if not path:
        if isinstance(figures, int | float) and not isinstance(figures, bool):
            yield float(figures)
        return
    key, rest = str(path[0]), path[1:]
    if isinstance(figures, list) and key == "*":
        for entry in figures:
            yield from find(entry, rest)
    if isinstance(figures, Mapping):
        for name in figures if key == "*" else [key]:
            yield from find(figures.get(name), rest)
