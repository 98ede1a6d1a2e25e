"""Annotator: who judges comparisons. People, a model behind an endpoint, reward models, or a program."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

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


Answer = Judgement | Failure


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


def now() -> str:
    """The time of a judgement, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
