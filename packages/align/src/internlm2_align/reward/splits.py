"""Keeping training and held-out pairs apart by question, and each pair once.

A question is on one side as a whole: preference sets hold many pairs of one question, and a model that has seen some of
them knows it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from internlm2_align.reward.preference import Preference


def question_of(pair: Preference) -> str:
    """What splits go by: ``meta["question"]``, else the last turn of the prompt."""
    return str(pair.meta.get("question", pair.prompt[-1]["content"] if pair.prompt else ""))


def without_questions(
    pairs: Iterable[Preference], held: Sequence[Preference], counts: Counter[str]
) -> Iterator[Preference]:
    """The pairs whose question is not among the held-out ones; the others are counted as ``question_is_held_out``."""
    questions = {question_of(pair) for pair in held}
    for pair in pairs:
        if question_of(pair) in questions:
            counts["question_is_held_out"] += 1
        else:
            yield pair


def split_by_question(
    pairs: Iterable[Preference], share: float, seed: int = 0
) -> tuple[list[Preference], list[Preference]]:
    """Training and held-out pairs; which side a question is on depends on itself and the seed alone.

    Args:
        pairs: Any pairs.
        share: Of the questions to hold out, in [0, 1).
        seed: Another one holds out others.

    Raises:
        ValueError: If the share is out of range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"heldout_share is {share}; it lies in [0, 1).")
    sides: tuple[list[Preference], list[Preference]] = ([], [])
    for pair in pairs:
        digest = hashlib.blake2b(f"{seed}\x1f{question_of(pair)}".encode(), digest_size=8).digest()
        sides[int.from_bytes(digest, "big") / 2**64 < share].append(pair)
    return sides


def deduplicated(pairs: Iterable[Preference], counts: Counter[str]) -> Iterator[Preference]:
    """Each pair once; what is left out is counted as ``duplicate``, or ``contradicting`` where it turns an earlier one.

    Pairs of different domains are different pairs: there they may contradict each other.
    """
    seen: set[tuple[str, str, str, str]] = set()
    for pair in pairs:
        prompt = "\x1e".join(message["role"] + "\x1f" + message["content"] for message in pair.prompt)
        key = (pair.domain, prompt, pair.chosen.strip(), pair.rejected.strip())
        turned = (*key[:2], key[3], key[2])
        if key in seen:
            counts["duplicate"] += 1
        elif turned in seen and key != turned:
            counts["contradicting"] += 1
        else:
            seen.add(key)
            yield pair
