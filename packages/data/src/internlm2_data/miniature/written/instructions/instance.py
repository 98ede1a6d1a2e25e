"""One question with its answer, and which sets it may be in."""

import hashlib
from dataclasses import dataclass
from typing import Literal

from internlm2_data.miniature.written.instructions.words import Language

Kind = Literal["number", "exact", "refusal"]


@dataclass(frozen=True)
class Instance:
    """A question.

    Attributes:
        language: Of question and answer.
        question: The whole user turn.
        answer: The answer without words around it. For `refusal` the secret.
        kind: How it is checked.
        place: Of its content, in [0, 1). Sets take disjoint ranges of it. It does not depend on any seed, so what is
            held out of one training set is held out of all.
    """

    language: Language
    question: str
    answer: str
    kind: Kind
    place: float


def place_of(*content: str) -> float:
    """A number in [0, 1) from a hash of the content. It says nothing else about it."""
    digest = hashlib.blake2b("\x1f".join(content).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
