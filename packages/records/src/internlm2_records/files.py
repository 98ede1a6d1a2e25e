"""Records of a file or folder, one by one, each with its place. `read_records` picks the reader by the suffix."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from internlm2_records.streams import MAX_LINE_BYTES, UNREADABLE, bounded_lines, open_binary
from internlm2_records.tables import arrow_rows, parquet_rows, saved_files

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
            fault = f"is not UTF-8 ({error.reason}): the suffix of compressed files is .gz or .zst"
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


def parquet(path: Path) -> Iterator[Placed]:
    """The rows of a Parquet file."""
    return _rows(path, parquet_rows(path))


def arrow(path: Path) -> Iterator[Placed]:
    """The rows of an Arrow file."""
    return _rows(path, arrow_rows(path))


def _rows(path: Path, rows: Iterable[Any]) -> Iterator[Placed]:
    for number, row in enumerate(rows, 1):
        yield Placed(path, number, row, unit="row")


READERS: Mapping[str, Reader] = {
    **{f"{suffix}{packed}": json_lines for suffix in (".jsonl", ".ndjson") for packed in ("", ".gz", ".zst")},
    **{f".json{packed}": json_list for packed in ("", ".gz", ".zst")},
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
