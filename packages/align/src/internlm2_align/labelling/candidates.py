"""Replies to be judged. Each names its origin, so that counts show what a preference set is made of."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from internlm2_align.labelling.instructions import Record, reference_of

SAMPLED = "sampled"
"""Origin of replies by models."""


class Candidate(NamedTuple):
    """A reply that could be given.

    Attributes:
        reply: Its text.
        origin: Where it comes from, such as ``reference`` or ``sampled``.
        may_win: Whether it may be the better side of a pair. Which of two damaged replies is worse teaches nothing.
    """

    reply: str
    origin: str
    may_win: bool = True


Writer = Callable[[Record, Sequence[str]], list[Candidate]]
"""Gives the candidates of a record and of replies sampled for it."""


def at_hand(records: Sequence[Record], seed: int) -> Writer:
    """A writer of nothing new: the reference reply and the sampled ones are the candidates.

    Args:
        records: All records of the set.
        seed: Nothing is drawn.
    """
    return lambda record, sampled: distinct([Candidate(reference_of(record), "reference"), *given(sampled)])


def given(replies: Iterable[str]) -> list[Candidate]:
    """Candidates of replies by models."""
    return [Candidate(reply, SAMPLED) for reply in replies]


def distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """The first candidate of each text, blanks around it aside."""
    first: dict[str, Candidate] = {}
    for candidate in candidates:
        first.setdefault(candidate.reply.strip(), candidate)
    return list(first.values())
