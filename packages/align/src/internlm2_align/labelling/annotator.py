"""Annotator: who judges replies to instruction records.

A record holds ``id``, ``task``, ``language`` and ``messages``, of which the last is the reference reply.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

Record = Mapping[str, Any]
NEEDS = ("id", "task", "language", "messages")
"""Keys that every record has."""


class Annotator(Protocol):
    """Judges replies, each domain by a preference of its own."""

    @property
    def name(self) -> str:
        """What the pairs call it as their source."""

    def domains_of(self, record: Record) -> Sequence[str]:
        """The domains by which replies to a record can be judged."""

    def slices_of(self, record: Record) -> Sequence[str]:
        """Groups of pairs that get figures of their own, as ``conflicting`` where two domains disagree."""

    def score(self, record: Record, reply: str, domain: str) -> float:
        """A reply's score in [0, 1], where 1 is best.

        Args:
            record: The record that the reply answers.
            reply: Text of the reply.
            domain: One of `domains_of` the record.
        """


def reference_of(record: Record) -> str:
    """The reference reply."""
    return str(record["messages"][-1]["content"])


def question_of(record: Record) -> str:
    """What the reference reply answers, by which pairs are split."""
    return str(record["messages"][-2]["content"])
