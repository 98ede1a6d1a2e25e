"""Instruction records, and annotators that have a number for every reply to one.

A record holds ``id``, ``task``, ``language`` and ``messages``, of which the last is the reference reply. Only programs
that know what a good reply is, such as `internlm2_align.miniature.SimulatedAnnotator`, need such records.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from internlm2_align.labelling.annotator import Annotator

Record = Mapping[str, Any]
NEEDS = ("id", "task", "language", "messages")
"""Keys that every record has."""


@runtime_checkable
class ScoringAnnotator(Annotator, Protocol):
    """An annotator that scores replies to instruction records, each domain by a preference of its own."""

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
