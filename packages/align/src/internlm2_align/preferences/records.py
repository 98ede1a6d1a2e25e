"""Records of a file one by one, each with its place, and what is made of them or refused with that place.

Files are JSON lines or a JSON list, plain or compressed (.gz, .zst), Parquet or Arrow, or a folder of JSON lines.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from internlm2_core.evaluation.records import jsonl_files, opened

T = TypeVar("T")
Record = Mapping[str, Any]


def raw_records(path: str | Path, advice: str) -> Iterator[tuple[str, object]]:
    """Place and content of each record; a JSON line is left as its text, so that a broken one stops nobody.

    Args:
        path: File or folder.
        advice: What to do if it is not there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file as a whole cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"There is no {path}; {advice}.")
    name = path.name.removesuffix(".gz").removesuffix(".zst")
    if path.is_file() and name.endswith(".json"):
        yield from _list(path)
    elif path.is_file() and name.endswith((".parquet", ".arrow")):
        from datasets import load_dataset

        rows = load_dataset(name.rsplit(".", 1)[1], data_files=str(path), split="train")
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
    else:
        for file in jsonl_files(path):
            yield from _lines(file)


def record_of(raw: object) -> Record:
    """The object of a record.

    Raises:
        ValueError: If it is none.
    """
    try:
        record = json.loads(raw) if isinstance(raw, str) else raw
    except json.JSONDecodeError as error:
        raise ValueError(f"is no JSON ({error.msg}).") from error
    if not isinstance(record, Mapping):
        raise ValueError(f"is no JSON object but a {type(record).__name__}.")
    return record


def validated(where: str, raw: object, parse: Callable[[Record], T]) -> T:
    """What ``parse`` makes of a record.

    Args:
        where: Place of the record, for messages.
        raw: See `raw_records`.
        parse: Raises KeyError for a key that is missing and ValueError for all else.

    Raises:
        ValueError: If the record cannot be used; the message begins with its place.
    """
    try:
        record = record_of(raw)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error
    try:
        return parse(record)
    except KeyError as error:
        raise ValueError(f"{where} lacks {error}; it has {', '.join(sorted(record)) or 'nothing'}.") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _list(path: Path) -> Iterator[tuple[str, object]]:
    try:
        with opened(path) as file:
            records = json.load(file)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no JSON ({error}); JSON lines end in .jsonl.") from error
    if not isinstance(records, list):
        raise ValueError(f"{path} holds a JSON {type(records).__name__} and no list; JSON lines end in .jsonl.")
    for number, record in enumerate(records, 1):
        # Dumped again, since a record that is a text would be taken for a line.
        yield f"{path}, record {number}", json.dumps(record) if isinstance(record, str) else record


def _lines(path: Path) -> Iterator[tuple[str, object]]:
    try:
        with opened(path) as file:
            yield from ((f"{path}, line {number}", line) for number, line in enumerate(file, 1) if line.strip())
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 ({error.reason}); compressed files end in .gz or .zst.") from error
