"""The stages that take what was chosen."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from internlm2_data.document import Document
from internlm2_data.io.documents import read_documents
from internlm2_data.stages.sieves import Sifted
from internlm2_data.stores import InputFile
from internlm2_data.verdict import Drop, Score, apply


@dataclass(frozen=True)
class ChosenSieve:
    """Keeps the documents that were chosen, with the portion as their source. Of the others only the id is noted.

    Attributes:
        made_by: Fingerprint of the choice.
        absent: See `Sieve`.
    """

    made_by: str
    _folder: Path
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        numbers = json.loads((self._folder / "shards.json").read_text("utf-8"))
        chosen = json.loads((self._folder / f"{numbers[str(files[0])]}.json").read_text("utf-8"))
        row = 0
        for path in files:
            for document in read_documents(path):
                if not isinstance(document, Document):
                    yield document
                    continue
                yield _sifted(document, chosen["portions"][row], chosen["scores"][row], stage)
                row += 1


def _sifted(document: Document, portion: str | None, score: float, stage: str) -> tuple[Document, bool]:
    if portion is None:
        return replace(apply(Drop("retrieval.not_chosen", score), document, stage), text=""), False
    noted = apply(Score(f"retrieval.{portion}", score), document, stage)
    return replace(noted, source=portion), True


@dataclass(frozen=True)
class GivenSieve:
    """Documents that were chosen as good before, with the portion as their source.

    Attributes:
        portions: Portion of each file.
        absent: See `Sieve`.
    """

    portions: dict[str, str]
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        for path in files:
            for document in read_documents(path):
                if isinstance(document, Document):
                    yield replace(document, source=self.portions[str(path)]), True
                else:
                    yield document
