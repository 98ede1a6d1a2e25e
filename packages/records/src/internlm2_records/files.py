"""Records of a file or folder, one by one, each with its place. `read_records` picks the reader by the suffix."""

import codecs
import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from internlm2_records.streams import MAX_LINE_BYTES, PACKED, UNREADABLE, bounded_lines, open_binary
from internlm2_records.tables import Row, arrow_rows, parquet_rows, saved_files

_BEGIN_BYTES = 1 << 16
_BETWEEN = re.compile(r"[\s,]*")
# Of a process, and 128 KiB by default: too little for a text.
csv.field_size_limit(MAX_LINE_BYTES)

T = TypeVar("T")
Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Placed:
    """A record and where it was found.

    Attributes:
        file: File that holds it.
        number: Which one it is, counted from 1.
        value: What was read, of any JSON type.
        fault: Why it could not be read, as the end of a sentence that begins with its place. Empty if it could.
        unit: What ``number`` counts: "line", "record" or "row".
    """

    file: Path
    number: int
    value: Any = None
    fault: str = ""
    unit: str = "line"

    @property
    def place(self) -> str:
        """File and number, as messages name them."""
        return f"{self.file}, {self.unit} {self.number}"

    def record(self) -> Record:
        """The value, if it is an object.

        Raises:
            ValueError: If it could not be read or is not a JSON object. The message begins with the place.
        """
        if self.fault:
            raise ValueError(f"{self.place} {self.fault}.")
        if not isinstance(self.value, Mapping):
            raise ValueError(f"{self.place} is not a JSON object but a {type(self.value).__name__}.")
        return self.value

    def parse(self, function: Callable[[Record], T]) -> T:
        """What a function makes of the record.

        Args:
            function: Raises KeyError for a missing key and ValueError for everything else that it refuses.

        Raises:
            ValueError: If the record cannot be used. The message begins with the place.
        """
        record = self.record()
        try:
            return function(record)
        except KeyError as error:
            keys = ", ".join(sorted(map(str, record))) or "no keys"
            raise ValueError(f"{self.place} lacks {error}. It has {keys}.") from error
        except ValueError as error:
            raise ValueError(f"{self.place}: {error}") from error


Reader = Callable[[Path], Iterable[Placed]]
"""Reads one file. It is chosen by the file's suffix."""


def json_lines(path: Path, errors: str = "strict") -> Iterator[Placed]:
    """The values of JSON lines. Blank lines are skipped.

    Args:
        path: The file, which may be compressed.
        errors: What to do with bytes that are not UTF-8: "strict" makes a fault of the line, "replace" keeps it.
    """
    number = 0
    try:
        with open_binary(path) as stream:
            for number, line in enumerate(bounded_lines(stream), 1):
                if line is None:
                    yield Placed(path, number, fault=f"has more than {MAX_LINE_BYTES} bytes")
                elif line.strip():
                    yield _line(path, number, line, errors)
    except UNREADABLE as error:
        # A truncated or damaged archive: what came before is good.
        yield Placed(path, number + 1, fault=f"and the rest cannot be decompressed: {error}")


def _line(path: Path, number: int, line: bytes, errors: str) -> Placed:
    try:
        return Placed(path, number, orjson.loads(line))
    except ValueError:
        # orjson refuses lone surrogates and NaN, which are not rare in the wild.
        try:
            return Placed(path, number, json.loads(line.decode("utf-8", errors)))
        except UnicodeDecodeError as error:
            fault = f"is not UTF-8 ({error.reason}): the suffix of compressed files is one of {', '.join(PACKED)}"
        except (ValueError, RecursionError) as error:
            fault = f"is broken JSON: {error}"
    return Placed(path, number, fault=fault)


def json_list(path: Path) -> Iterator[Placed]:
    """The items of a file that holds one JSON list.

    Raises:
        ValueError: If it holds anything else.
    """
    with open_binary(path) as file:
        try:
            value = json.load(file)
        except ValueError as error:
            raise ValueError(f"{path} is not a JSON list ({error}). The suffix of JSON lines is .jsonl.") from None
    if not isinstance(value, list):
        raise ValueError(f"{path} holds a JSON {type(value).__name__}, not a list. The suffix of JSON lines is .jsonl.")
    for number, item in enumerate(value, 1):
        yield Placed(path, number, item, unit="record")


def json_any(path: Path, errors: str = "strict") -> Iterator[Placed]:
    """The values of JSON lines or the items of one JSON list, whichever a file holds. Crawls name both ``.json``.

    Args:
        path: The file, which may be compressed.
        errors: See `json_lines`. In a list every item with such bytes is kept with marks in their place.
    """
    with open_binary(path) as stream:
        begin = stream.read(_BEGIN_BYTES).removeprefix(codecs.BOM_UTF8).lstrip()
    return _list_items(path) if begin.startswith(b"[") else json_lines(path, errors)


def _list_items(path: Path) -> Iterator[Placed]:
    """Items of a JSON list one by one, in memory bounded by the largest."""
    decoder, number, place = json.JSONDecoder(), 0, 0
    with io.TextIOWrapper(open_binary(path), "utf-8-sig", "replace") as stream:
        text = stream.read(_BEGIN_BYTES).lstrip().removeprefix("[")
        while True:
            place = _BETWEEN.match(text, place).end()  # type: ignore[union-attr]  # matches nothing too
            if text.startswith("]", place):
                if (text[place + 1 :] + stream.read(_BEGIN_BYTES)).strip():
                    yield Placed(path, number + 1, fault="and the rest comes after the end of the list", unit="record")
                return
            try:
                value, end = decoder.raw_decode(text, place)
            except (ValueError, RecursionError) as error:
                text, place = text[place:], 0
                more = stream.read(max(_BEGIN_BYTES, len(text))) if len(text) < MAX_LINE_BYTES else ""
                text += more
                if not more:
                    fault = f"and the rest are no items of a JSON list: {error}"
                    yield Placed(path, number + 1, fault=fault, unit="record")
                    return
            else:
                number, place = number + 1, end
                yield Placed(path, number, value, unit="record")


def parquet(path: Path) -> Iterator[Placed]:
    """The rows of a Parquet file."""
    return _rows(path, parquet_rows(path))


def arrow(path: Path) -> Iterator[Placed]:
    """The rows of an Arrow file."""
    return _rows(path, arrow_rows(path))


def _rows(path: Path, rows: Iterable[Row]) -> Iterator[Placed]:
    for number, row in enumerate(rows, 1):
        yield Placed(path, number, row.value, row.fault, unit="row")


def csv_rows(path: Path, header: bool = True) -> Iterator[Placed]:
    """The rows of a CSV or TSV file. A row with other than as many cells as there are columns is a fault.

    Args:
        path: The file, which may be compressed.
        header: Whether the first row names the columns. Without, their names are "0", "1", ...
    """
    number = 0
    try:
        with io.TextIOWrapper(open_binary(path), "utf-8-sig", "replace", newline="") as text:
            rows = csv.reader(text, delimiter="\t" if ".tsv" in path.name.lower() else ",")
            names = next(rows, []) if header else None
            for number, row in enumerate(rows, 1):
                names = names if names is not None else list(map(str, range(len(row))))
                if len(row) == len(names):
                    yield Placed(path, number, dict(zip(names, row, strict=True)), unit="row")
                elif row:
                    yield Placed(path, number, fault=f"has {len(row)} cells for {len(names)} columns", unit="row")
    except (*UNREADABLE, csv.Error) as error:
        yield Placed(path, number + 1, fault=f"and the rest cannot be read: {error}", unit="row")


TABLES = tuple(suffix + packed for suffix in (".csv", ".tsv") for packed in ("", *PACKED))
"""Suffixes of text files with columns."""
READERS: Mapping[str, Reader] = {
    **{f"{suffix}{packed}": json_lines for suffix in (".jsonl", ".ndjson", ".jsonlines") for packed in ("", *PACKED)},
    **{f".json{packed}": json_list for packed in ("", *PACKED)},
    **dict.fromkeys(TABLES, csv_rows),
    ".parquet": parquet,
    ".arrow": arrow,
}
"""Reader by suffix. A file with another suffix is read as JSON lines."""


def read_records(path: str | Path, readers: Mapping[str, Reader] | None = None) -> Iterator[Placed]:
    """The records of a file, of a folder of files, or of a folder that ``datasets.save_to_disk`` wrote.

    Of a folder of files, those with a known suffix are read in the order of their names. Files in ``.json`` beside
    them are reports, not records.

    Args:
        path: File or folder.
        readers: Readers of your own by suffix, which come before `READERS`.

    Raises:
        FileNotFoundError: If nothing is there, or a folder holds no records.
        ValueError: If a file as a whole cannot be read.
    """
    known = {**READERS, **(readers or {})}
    files = _files(Path(path), known)
    return (placed for file in files for placed in _reader(file, known)(file))


def _files(path: Path, readers: Mapping[str, Reader]) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist.")
    if not path.is_dir():
        return [path]
    suffixes = tuple(suffix for suffix, reader in readers.items() if reader is not json_list)
    files = saved_files(path) or sorted(file for file in path.iterdir() if file.name.endswith(suffixes))
    if not files:
        raise FileNotFoundError(
            f"{path} holds no records: no file ends in {', '.join(suffixes)}, and it lacks the "
            "state.json of datasets.save_to_disk."
        )
    return files


def _reader(file: Path, readers: Mapping[str, Reader]) -> Reader:
    fitting = [suffix for suffix in readers if file.name.endswith(suffix)]
    return readers[max(fitting, key=len)] if fitting else json_lines


def read_objects(
    path: str | Path, needs: tuple[str, ...] = (), readers: Mapping[str, Reader] | None = None
) -> list[dict[str, Any]]:
    """The JSON objects of a file or folder, all of them good.

    Args:
        path: File or folder, see `read_records`.
        needs: Keys that every object must have.
        readers: Readers of your own by suffix.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If a record is broken, is not an object or lacks a key, or if there are no records.
    """

    def checked(record: Record) -> dict[str, Any]:
        for key in needs:
            record[key]
        return dict(record)

    found = [placed.parse(checked) for placed in read_records(path, readers)]
    if not found:
        raise ValueError(f"{path} is empty.")
    return found
