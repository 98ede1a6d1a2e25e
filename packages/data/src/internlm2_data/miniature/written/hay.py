"""Sentences that people wrote, to lie between written facts."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

from internlm2_data.io.documents import documents_of
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.miniature.written.instructions.words import LANGUAGES, Language
from internlm2_data.pipelines.tokens import is_held_out

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")
SHORTEST = 15
LONGEST: Mapping[Language, int] = {"en": 160, "zh": 50}


@dataclass(frozen=True)
class Hay:
    """Sentences by language, in the order of their texts.

    Attributes:
        sentences: By language.
    """

    sentences: Mapping[Language, Sequence[str]]

    def draw(self, rng: Random, language: Language, count: int) -> list[str]:
        """Neighbouring sentences, in a ring."""
        stock = self.sentences[language]
        start = rng.randrange(len(stock))
        return [stock[(start + number) % len(stock)] for number in range(count)]


def gather_hay(inputs: Sequence[str], max_characters: int, held_out: float = 0.0) -> Hay:
    """Read sentences from documents, in the order of the inputs.

    Args:
        inputs: Files, folders and glob patterns of documents.
        max_characters: Enough of a language.
        held_out: Share of documents that `pipeline=tokens` holds out. None of their sentences is taken.

    Raises:
        FileNotFoundError: If an input is not there.
        ValueError: If a language has no sentence of fitting length.
    """
    found: dict[Language, list[str]] = {language: [] for language in LANGUAGES}
    room = dict.fromkeys(LANGUAGES, max_characters)
    for document in documents_of(expand_inputs(inputs)):
        if is_held_out(document.id, held_out):
            continue
        language = next((known for known in LANGUAGES if document.language == known), None)
        if language is None or room[language] <= 0:
            continue
        room[language] -= len(document.text)
        found[language] += fitting_sentences(document.text, language)
        if max(room.values()) <= 0:
            break
    if missing := [language for language, sentences in found.items() if not sentences]:
        raise ValueError(
            f"inputs={list(inputs)} have no sentence of {SHORTEST} characters or a little more in "
            f"{', '.join(missing)}. Both languages are needed."
        )
    return Hay(found)


def fitting_sentences(text: str, language: Language) -> list[str]:
    """The sentences that are neither too short nor too long.

    Args:
        text: What people wrote.
        language: Of the text.
    """
    pieces = (piece.strip() for piece in SENTENCE_END.split(text))
    return [piece for piece in pieces if SHORTEST <= len(piece) <= LONGEST[language]]
