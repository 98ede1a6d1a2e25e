"""The stage that takes documents with evaluation items out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from internlm2_data.decontamination.index import ItemIndex
from internlm2_data.decontamination.matcher import Match, Matcher
from internlm2_data.decontamination.settings import MatchSettings
from internlm2_data.document import Document
from internlm2_data.io.documents import read_documents
from internlm2_data.stages.sieves import BATCH_DOCUMENTS, Sifted
from internlm2_data.stores import InputFile
from internlm2_data.verdict import Drop, apply


@dataclass(frozen=True)
class DecontaminationSieve:
    """Drops documents that hold an evaluation item. Their trail says which, where, and in which words.

    Attributes:
        files: Files of the evaluation sets, for the fingerprint.
        settings: What counts as an item.
        index: Fingerprint of the index.
        absent: See `Sieve`.
    """

    files: Sequence[Path]
    settings: MatchSettings
    index: str
    _folder: Path
    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`."""
        matcher = _matcher(self._folder, self.index, self.settings)
        read = (document for path in files for document in read_documents(path))
        while batch := list(islice(read, BATCH_DOCUMENTS)):
            matches = iter(matcher.find([d.text for d in batch if isinstance(d, Document)]))
            for document in batch:
                if isinstance(document, Document):
                    yield self._sifted(document, next(matches), matcher, stage)
                else:
                    yield document

    def _sifted(
        self, document: Document, matches: Sequence[Match], matcher: Matcher, stage: str
    ) -> tuple[Document, bool]:
        if not matches:
            return document, True
        first = max(matches, key=lambda match: match.share)
        kind = matcher.index.parts[first.part].kind
        dropped = apply(Drop(f"contamination.{kind}", first.share, self.settings.threshold), document, stage)
        dropped.trail[-1]["matches"] = [_told(match, document, matcher.index) for match in matches]
        return dropped, False


@lru_cache(maxsize=1)
def _matcher(folder: Path, index: str, settings: MatchSettings) -> Matcher:
    return Matcher(ItemIndex.load(folder), settings)


def _told(match: Match, document: Document, index: ItemIndex) -> dict[str, Any]:
    part = index.parts[match.part]
    item = index.items[part.item]
    return {
        "set": item.set,
        "item": item.place,
        "same_words_in": len(part.items) - 1,
        "part": part.kind,
        "share": match.share,
        "exact": match.exact,
        "answer": match.answer,
        "start": match.start,
        "stop": match.stop,
        "text": document.text[match.start : match.stop],
        "wanted": part.text,
    }
