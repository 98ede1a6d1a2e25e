"""Where labels come from: files, or texts that are spoiled by rule."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

from internlm2_data.classifiers.labels import LabelFile, Labelled
from internlm2_data.classifiers.spoiling import SPOIL, TARGETS, UNWANTED, unwanted
from internlm2_data.document import Document
from internlm2_data.fingerprint import file_digest
from internlm2_data.io.documents import read_documents
from internlm2_data.io.inputs import expand_inputs
from internlm2_data.stores import InputFile

MIN_CHARACTERS = 20
"""Of a text that is spoiled by rule."""


class LabelSource(Protocol):
    """Gives labelled texts."""

    def read(self) -> Iterator[Labelled]:
        """The texts."""

    def about(self) -> dict[str, Any]:
        """What the card says of it."""

    def at(self, path: str, targets: Sequence[str]) -> "LabelSource":
        """A file of labels that people gave, read as this source's own is where it is a file.

        Args:
            path: The file.
            targets: Names of the labels.
        """


@dataclass(frozen=True)
class FromFile:
    """Labels that people gave.

    Attributes:
        file: The file and how to read it.
    """

    file: LabelFile

    def read(self) -> Iterator[Labelled]:
        """See `LabelSource`."""
        return self.file.read()

    def about(self) -> dict[str, Any]:
        """See `LabelSource`."""
        return {"file": Path(self.file.path).name, "digest": file_digest(Path(self.file.path))}

    def at(self, path: str, targets: Sequence[str]) -> "FromFile":
        """See `LabelSource`. Columns and values are those of this file."""
        return FromFile(self.file.at(path))


@dataclass(frozen=True)
class MadeByRule:
    """Labels without people: documents as they are, and the same spoiled by rule.

    A classifier trained on them recognises these spoilings and what is like them. Its card says that the labels are
    made.

    Attributes:
        inputs: Documents taken as good.
        kind: "fluency" (four targets: consistency, noise, information, grammar. 1 is good), or "advertisement",
            "toxicity" or "pornography" (1 is one).
        max_documents: How many to take of each language, from all files in turn.
        seed: Of the spoiling.
    """

    inputs: Sequence[str]
    kind: Literal["fluency", "advertisement", "toxicity", "pornography"] = "fluency"
    max_documents: int = 4000
    seed: int = 0

    def read(self) -> Iterator[Labelled]:
        """See `LabelSource`."""
        rng = np.random.default_rng(self.seed)
        for language in ("en", "zh"):
            texts = self._texts(language)
            for place, text in enumerate(texts):
                other = texts[int(rng.integers(0, len(texts)))]
                yield from self._labelled(text[:4000], other[:4000], place, language, rng)

    def about(self) -> dict[str, Any]:
        """See `LabelSource`."""
        return {"made_by_rule": self.kind, "inputs": list(self.inputs)}

    def at(self, path: str, targets: Sequence[str]) -> FromFile:
        """See `LabelSource`. The columns of the file are called ``text`` and like the targets."""
        return FromFile(LabelFile(path, labels=tuple(targets)))

    def _labelled(
        self, text: str, other: str, place: int, language: str, rng: np.random.Generator
    ) -> Iterator[Labelled]:
        if self.kind in UNWANTED:
            yield Labelled(text, (0.0,), language)
            yield Labelled(unwanted(text, self.kind, language, rng), (1.0,), language)
            return
        good = (1.0,) * len(TARGETS)
        yield Labelled(text, good, language)
        target = place % len(TARGETS)
        spoiled = SPOIL[TARGETS[target]](text, other, language, rng)
        yield Labelled(spoiled, (*good[:target], 0.0, *good[target + 1 :]), language)

    def _texts(self, language: str) -> list[str]:
        """Texts of all files in turn: a classifier drops what is unlike the texts that it has seen."""
        found: list[str] = []
        readers = [_good(path, language) for path in expand_inputs(self.inputs)]
        while readers and len(found) < self.max_documents:
            turn = [(reader, next(reader, "")) for reader in readers]
            readers = [reader for reader, text in turn if text]
            found += [text for _, text in turn if text]
        return found[: self.max_documents]


def _good(path: InputFile, language: str) -> Iterator[str]:
    for document in read_documents(path):
        if not isinstance(document, Document) or document.type == "repository":
            continue
        if document.language == language and len(document.text) > MIN_CHARACTERS:
            yield document.text
