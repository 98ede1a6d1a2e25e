"""What a conversation asks, by which training and held-out data are kept apart.

The question is the first thing that the user says: a dialogue is often cut at several depths, and a reply held out at
one of them is in the prompt of another. Where many dialogues begin alike ("Hi") that first turn is a greeting and not a
question, and what the user says next belongs to it.
"""

import hashlib
import unicodedata
from collections.abc import Iterable, Sequence

from internlm2_records import Message

GREETING = 8
"""A beginning that so many different turns follow is a greeting."""

Words = tuple[str, ...]


class Questions:
    """The questions of some conversations.

    Args:
        prompts: All of them, training and held out, without the reply.
    """

    def __init__(self, prompts: Iterable[Sequence[Message]]) -> None:
        following: dict[Words, set[str]] = {}
        for prompt in prompts:
            words = said(prompt)
            for depth in range(1, len(words)):
                after = following.setdefault(words[:depth], set())
                if len(after) < GREETING:
                    after.add(words[depth])
        self.greetings = {words for words, after in following.items() if len(after) >= GREETING}

    def of(self, prompt: Sequence[Message]) -> Words:
        """The user's turns up to the first that is more than a greeting."""
        words = said(prompt)
        depth = 1
        while depth < len(words) and words[:depth] in self.greetings:
            depth += 1
        return words[:depth]


def said(prompt: Sequence[Message]) -> Words:
    """The user's turns, as `same_words` compares them."""
    return tuple(same_words(turn["content"]) for turn in prompt if turn["role"] == "user")


def same_words(text: str) -> str:
    """A text without what does not tell questions apart."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def is_held_out(question: Words, share: float, seed: int) -> bool:
    """Whether a question is among a share of all. It depends on the question and the seed alone.

    Args:
        question: From `Questions.of`, or a name as its only word.
        share: In [0, 1).
        seed: Another one holds out others.
    """
    text = "\x1f".join((str(seed), *question))
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 < share


def check_share(share: float) -> None:
    """Refuse a share that is not one.

    Raises:
        ValueError: If it is below 0, or leaves nothing to train on.
    """
    if not 0 <= share < 1:
        raise ValueError(f"heldout_share={share} must be in [0, 1).")
