"""The text that a vocabulary is made from: equal shares, read from the files each time, never held."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from internlm2_data.document import CODE_TYPES, Document
from internlm2_data.io.documents import read_documents
from internlm2_data.stores import InputFile

GROUPS = ("en", "zh", "code", "other")
# Of each group, for figures.
SHOWN_BYTES = 1_000_000


@dataclass(frozen=True)
class BalancedSample:
    """Texts of English, Chinese, code and other, in the order of the files, each group at most a third of the bytes.

    Attributes:
        files: Files of documents.
        sample_bytes: Bytes of all texts.
    """

    files: Sequence[InputFile]
    sample_bytes: int

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Group and text."""
        room = dict.fromkeys(GROUPS, self.sample_bytes // 3)
        for path in self.files:
            for document in read_documents(path):
                if not isinstance(document, Document) or not document.text:
                    continue
                name = "code" if document.type in CODE_TYPES else document.language
                name = name if name in GROUPS else "other"
                if room[name] > 0:
                    room[name] -= document.num_bytes
                    yield name, document.text
            if all(left <= 0 for left in room.values()):
                return

    def texts(self, group: str | None = None) -> Iterator[str]:
        """Texts of one group, or of all."""
        return (text for name, text in self if group in (None, name))

    def sizes(self) -> dict[str, int]:
        """Bytes of each group that has any."""
        sizes: dict[str, int] = {}
        for name, text in self:
            sizes[name] = sizes.get(name, 0) + len(text.encode("utf-8", "replace"))
        return sizes

    def shown(self) -> dict[str, list[str]]:
        """The first texts of each group, about a megabyte."""
        texts: dict[str, list[str]] = {}
        room = dict.fromkeys(GROUPS, SHOWN_BYTES)
        for name, text in self:
            if room[name] > 0:
                texts.setdefault(name, []).append(text[: room[name]])
                room[name] -= len(text.encode("utf-8", "replace"))
        return texts
