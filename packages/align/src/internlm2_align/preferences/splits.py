"""Keeping training and held-out pairs apart by question, and each pair once.

A question is on one side as a whole. Preference sets hold many pairs of one question, and a model that has seen some of
them knows it.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from internlm2_align.preferences.preference import Preference


def question_of(pair: Preference) -> str:
    """What splits go by: ``meta["question"]``, else the first thing that the user says.

    The first, since a dialogue is often cut at several depths, and a reply held out at one of them is in the prompt of
    another. Blanks, capitals and widths of letters do not tell questions apart.
    """
    return same_words(str(pair.meta["question"])) if "question" in pair.meta else _opening(pair)


def same_words(text: str) -> str:
    """A text without what does not tell questions apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _opening(pair: Preference) -> str:
    said = [turn["content"] for turn in pair.prompt if turn["role"] == "user"]
    return same_words(said[0]) if said else ""


def without_questions(
    pairs: Iterable[Preference], held: Sequence[Preference], counts: Counter[str]
) -> Iterator[Preference]:
    """The pairs whose question is not held out.

    Where only one of two pairs names its question, the opening of each and the name are compared.

    Args:
        pairs: Any pairs.
        held: Held-out pairs.
        counts: Gets ``question_is_held_out`` for each pair that is left out.
    """
    questions, openings = {question_of(pair) for pair in held}, {_opening(pair) for pair in held}
    unnamed = {question_of(pair) for pair in held if "question" not in pair.meta}
    for pair in pairs:
        others = unnamed if "question" in pair.meta else openings
        if question_of(pair) in questions or _opening(pair) in others:
            counts["question_is_held_out"] += 1
        else:
            yield pair


def split_by_question(
    pairs: Iterable[Preference], share: float, seed: int = 0
) -> tuple[list[Preference], list[Preference]]:
    """Training and held-out pairs. Which side a question is on depends on itself and the seed alone.

    Where some pairs name their question and others do not, `without_questions` clears training of held-out ones.

    Args:
        pairs: Any pairs.
        share: Of the questions to hold out, in [0, 1).
        seed: Another one holds out others.

    Raises:
        ValueError: If the share is out of range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"heldout_share={share} must be in [0, 1).")
    sides: tuple[list[Preference], list[Preference]] = ([], [])
    for pair in pairs:
        digest = hashlib.blake2b(f"{seed}\x1f{question_of(pair)}".encode(), digest_size=8).digest()
        sides[int.from_bytes(digest, "big") / 2**64 < share].append(pair)
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
