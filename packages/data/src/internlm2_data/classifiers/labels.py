"""Labelled texts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from internlm2_records.streams import open_binary

from internlm2_data.document import content_id
from internlm2_data.web.language import identify

csv.field_size_limit(1 << 26)


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text and its labels.

    Attributes:
        text: the text.
        labels: one number a target, 0 or 1.
        language: of the text.
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
    """How to read a labelled file: JSONL, CSV or TSV, plain or gzip.

    Attributes:
        path: the file.
        text: key or column of the text.
        labels: keys or columns of the labels, one a target.
        positive: values that mean 1; where it is empty, labels are numbers.
        language: of all its texts; None to identify each.
        header: whether a CSV or TSV begins with column names; without, columns are numbers from 0.
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
            FileNotFoundError: when it is not there.
            ValueError: for a row without text or labels, with its number.
        """
        if not Path(self.path).is_file():
            raise FileNotFoundError(f"there are no labels at {self.path}: set labels.source.file.path")
        for number, row in enumerate(self._rows(), 1):
            try:
                # Typed without quotes, columns and values may arrive as numbers.
                text = str(row[str(self.text)] or "")
                labels = tuple(self._number(row[str(key)]) for key in self.labels)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"row {number} of {self.path} has not {self.text} and {list(self.labels)} as needed ({error!r}): "
                    f"set labels.source.file.text and .labels to names of its columns, and .positive=[VALUE] to what "
                    f"means 1 where labels are no numbers"
                ) from None
            if any(label not in (0, 1) for label in labels):
                raise ValueError(
                    f"row {number} of {self.path} has {list(labels)} under {list(self.labels)}, not 0 or 1: "
                    f"set labels.source.file.positive=[VALUE] to what means 1"
                )
            if text.strip():
                yield Labelled(text, labels, self.language or identify(text))

    def _number(self, value: object) -> float:
        return float(str(value) in map(str, self.positive)) if self.positive else float(str(value))

    def _rows(self) -> Iterator[dict[str, object]]:
        with open_binary(Path(self.path)) as stream:
            kind = Path(self.path.removesuffix(".gz")).suffix
            if kind not in (".csv", ".tsv"):
                yield from (orjson.loads(line) for line in stream if line.strip())
                return
            lines = io.TextIOWrapper(stream, "utf-8", "replace", newline="")
            rows = csv.reader(lines, delimiter="\t" if kind == ".tsv" else ",")
            names = next(rows) if self.header else None
            for row in rows:
                yield dict(zip(names or map(str, range(len(row))), row, strict=False))
