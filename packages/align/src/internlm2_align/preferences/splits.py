"""Keeping training and held-out pairs apart by question, and each pair once.

A question is on one side as a whole. Preference sets hold many pairs of one question, and a model that has seen some of
them knows it.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from internlm2_records import Message

from internlm2_align.preferences.preference import Preference
from internlm2_align.preferences.questions import Questions, Words, check_share, is_held_out, same_words


class Asks(Protocol):
    """What has a question: a `Preference`, or a comparison that is to become one."""

    @property
    def prompt(self) -> Sequence[Message]:
        """The conversation before the reply."""

    @property
    def meta(self) -> Mapping[str, Any]:
        """What else is known. ``question`` names what it asks."""


A = TypeVar("A", bound=Asks)


def question_of(pair: Asks, questions: Questions) -> Words:
    """What splits go by: ``meta["question"]``, else what the prompt asks.

    Args:
        pair: Any pair.
        questions: Those of all pairs, held out or not.
    """
    return (same_words(str(pair.meta["question"])),) if "question" in pair.meta else questions.of(pair.prompt)


def without_questions(pairs: Sequence[A], held: Sequence[A], counts: Counter[str]) -> Iterator[A]:
    """The pairs whose question is not held out.

    Where only one of two pairs names its question, what each prompt asks and the name are compared.

    Args:
        pairs: Any pairs.
        held: Held-out pairs.
        counts: Gets ``question_is_held_out`` for each pair that is left out.
    """
    questions = Questions(pair.prompt for pair in (*pairs, *held))
    named = {question_of(pair, questions) for pair in held}
    asked = {questions.of(pair.prompt) for pair in held}
    unnamed = {question_of(pair, questions) for pair in held if "question" not in pair.meta}
    for pair in pairs:
        others = unnamed if "question" in pair.meta else asked
        if question_of(pair, questions) in named or questions.of(pair.prompt) in others:
            counts["question_is_held_out"] += 1
        else:
            yield pair


def split_by_question(pairs: Iterable[A], share: float, seed: int = 0) -> tuple[list[A], list[A]]:
    """Training and held-out pairs. Which side a question is on depends on itself and the seed alone.

    Where some pairs name their question and others do not, `without_questions` clears training of held-out ones.

    Args:
        pairs: Any pairs.
        share: Of the questions to hold out, in [0, 1).
        seed: Another one holds out others.

    Raises:
        ValueError: If the share is out of range.
    """
    check_share(share)
    pairs = list(pairs)
    questions = Questions(pair.prompt for pair in pairs)
    sides: tuple[list[A], list[A]] = ([], [])
    for pair in pairs:
        sides[is_held_out(question_of(pair, questions), share, seed)].append(pair)
    return sides


def deduplicated(pairs: Iterable[Preference], counts: Counter[str]) -> Iterator[Preference]:
    """Each pair once.

    Pairs of different domains are different pairs: there they may contradict each other.

    Args:
        pairs: Any pairs.
        counts: Gets ``duplicate`` for each pair that was there before, ``contradicting`` for each that turns one round.
    """
    seen: set[tuple[Any, ...]] = set()
    for pair in pairs:
        prompt, chosen, rejected = pair.key
        key, turned = (pair.domain, prompt, chosen, rejected), (pair.domain, prompt, rejected, chosen)
        if key in seen:
            counts["duplicate"] += 1
        elif turned in seen and key != turned:
            counts["contradicting"] += 1
        else:
            seen.add(key)
            yield pair
