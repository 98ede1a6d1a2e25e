"""Labelled texts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from internlm2_records import Placed, Record, read_records
from internlm2_records.files import TABLES, csv_rows

from internlm2_data.document import content_id
from internlm2_data.web.language import identify


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its labels.

    Attributes:
        text: The text.
        labels: One number a target, 0 or 1.
        language: Of the text.
    """

    text: str
    labels: tuple[float, ...]
    language: str

    @property
    def split(self) -> str:
        """Train (70%), validation or test (15% each): of the text's hash, so that a text is never in two of them."""
        place = int(content_id(self.text)[:8], 16) / 2**32
        return "train" if place < 0.7 else "validation" if place < 0.85 else "test"


@dataclass(frozen=True)
class LabelFile:
    """How to read a labelled file: of any format of `internlm2_records`.

    Attributes:
        path: The file.
        text: Key or column of the text.
        labels: Keys or columns of the labels, one a target.
        positive: Values that mean 1. Where it is empty, labels are numbers.
        language: Of all its texts. None to identify each.
        header: Whether a CSV or TSV begins with column names. Without, columns are numbers from 0.
    """

    path: str
    text: str = "text"
    labels: Sequence[str] = ("label",)
    positive: Sequence[str] = ()
    language: str | None = None
    header: bool = True

    def read(self) -> Iterator[Labelled]:
        """Its texts.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If a row lacks text or labels, or a label is neither 0 nor 1. The message begins with its place.
        """
        for placed in read_records(self.path, dict.fromkeys(TABLES, self._table)):
            labelled = placed.parse(self._labelled)
            if labelled.text.strip():
                yield labelled

    def at(self, path: str) -> "LabelFile":
        """Another file that is read in the same way."""
        return replace(self, path=path)

    def _labelled(self, row: Record) -> Labelled:
        if any(str(key) not in row for key in (self.text, *self.labels)):
            raise ValueError(f"text={self.text} and labels={list(self.labels)} must be among its columns {list(row)}.")
        # Typed without quotes, columns and values may arrive as numbers.
        text = str(row[str(self.text)] or "")
        labels = tuple(self._number(row[str(key)]) for key in self.labels)
        if any(label not in (0, 1) for label in labels):
            raise ValueError(
                f"{list(labels)} under labels={list(self.labels)} must be 0 or 1. Name what means 1 in positive."
            )
        return Labelled(text, labels, self.language or identify(text))

    def _number(self, value: object) -> float:
        if self.positive:
            return float(str(value) in map(str, self.positive))
        try:
            return float(str(value))
        except ValueError:
            raise ValueError(f"label={value!r} is not a number. Name the values that mean 1 in positive.") from None

    def _table(self, path: Path) -> Iterator[Placed]:
        return csv_rows(path, self.header)
