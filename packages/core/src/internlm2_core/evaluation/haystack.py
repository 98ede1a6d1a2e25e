"""Held-out text as hay, and the wording in which facts are hidden in it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from internlm2_records import read_objects

from internlm2_core.evaluation.records import evenly
from internlm2_core.text import Tokenizer

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])\s*|\n+")


class TokenDocuments(Protocol):
    """Documents as token ids, e.g. ``internlm2_data.loading.TokenSource``."""

    def __len__(self) -> int:
        """Number of documents."""

    def read(self, document: int) -> Any:
        """Ids of one document, as a numpy array."""


@dataclass(frozen=True)
class Haystack:
    """Where the hay comes from, and how facts of `Needle` are told in one language. `Retrieval` brings its own.

    Attributes:
        documents: Held-out documents: a file or folder of records (``text``, ``language``), or token files of the
            model's own tokenizer by name ``LANGUAGE-KIND``.
        statement: A fact, with ``{noun}``, ``{name}`` and ``{value}``.
        question: The beginning of a fact up to its value, with ``{noun}`` and ``{name}``.
        nouns: What facts are about.
        names: Whom they are about. Distractors take other names.
        separator: Put between sentences: a space in English, nothing in Chinese.
        language: Keep only documents of this ``language``. None keeps all.
        min_chars: Shorter sentences are left out.
        max_chars: Longer sentences are left out.
        max_documents: Documents that are read, spread evenly over the files.
    """

    documents: str | Mapping[str, TokenDocuments]
    statement: str = ""
    question: str = ""
    nouns: Sequence[str] = ()
    names: Sequence[str] = ()
    separator: str = " "
    language: str | None = None
    min_chars: int = 15
    max_chars: int = 200
    max_documents: int = 200

    def sentences(self, tokenizer: Tokenizer) -> list[str]:
        """The hay, in the order of the text.

        Raises:
            ValueError: If no sentence is left.
        """
        pieces = [piece.strip() for text in self._texts(tokenizer) for piece in SENTENCE_END.split(text)]
        sentences = [piece for piece in pieces if self.min_chars <= len(piece) <= self.max_chars]
        if not sentences:
            raise ValueError(
                f"language={self.language}: the documents hold no sentence of {self.min_chars} to {self.max_chars} "
                "characters in it."
            )
        return sentences

    def _texts(self, tokenizer: Tokenizer) -> Iterator[str]:
        if isinstance(self.documents, str):
            records = read_objects(self.documents, ("text",))
            chosen = [r for r in records if self.language is None or r.get("language") == self.language]
            for record in evenly(chosen, self.max_documents):
                yield record["text"]
            return
        sources = [s for name, s in self.documents.items() if self.language in (None, name.partition("-")[0])]
        marks = {*tokenizer.begin, tokenizer.special("</s>")}
        for source in sources:
            count = min(len(source), max(1, self.max_documents // len(sources)))
            for index in range(count):
                ids = source.read(index * len(source) // count).tolist()
                yield tokenizer.decode([id_ for id_ in ids if id_ not in marks])
