"""Annotator: who judges comparisons. People, a model behind an endpoint, reward models, or a program."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from internlm2_align.preferences.comparison import Comparison, Judgement


@dataclass(frozen=True, slots=True)
class Failure:
    """A comparison that an annotator could not judge.

    Args:
        comparison: Its id.
        reason: A short name for counts, such as ``malformed`` or ``timeout``.
        annotator: Who could not.
        time: When, as ISO 8601 in UTC.
        detail: What happened, in words.
        meta: Anything else, such as the answers of a model as they came.
    """

    comparison: str
    reason: str
    annotator: str
    time: str
    detail: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A judgement that counts no more: somebody undid it, or others disagree now.

    Args:
        comparison: Its id, which is open again.
        taken_back: When that was seen, as ISO 8601 in UTC.
    """

    comparison: str
    taken_back: str


Answer = Judgement | Failure | TakenBack


class Annotator(Protocol):
    """Judges comparisons."""

    @property
    def name(self) -> str:
        """What judgements and pairs call it."""

    def judge(self, comparisons: Sequence[Comparison], folder: Path) -> Iterator[Answer]:
        """What it says of the comparisons by now, in any order.

        A comparison without an answer is still open: people may answer it later. The last answer to a comparison
        counts. Answers are kept as they come, so a run that was stopped asks only for the rest.

        Args:
            comparisons: Those that have no judgement yet.
            folder: Where the annotator may keep what it needs between runs.
        """


@runtime_checkable
class Reconsiders(Protocol):
    """An annotator that may change what it has said, as people do who undo."""

    def reconsidered(self, judgements: Mapping[str, Judgement], folder: Path) -> Iterator[Judgement | TakenBack]:
        """What it says otherwise now. Judgements of others are left alone.

        Args:
            judgements: Those that count by now, by id of the comparison.
            folder: As for `Annotator.judge`.
        """


def now() -> str:
    """The time of a judgement, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
