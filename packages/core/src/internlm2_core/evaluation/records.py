"""Reading JSON Lines for tasks, with errors that name file, line and what is missing.

A path is a file (plain, ``.gz``, ``.zst``) or a folder of such files, read in the order of their names.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

Record = dict[str, Any]
SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def read_records(path: str | Path, needs: tuple[str, ...] = (), limit: int | None = None) -> list[Record]:
    """The objects of a JSONL file, or of all files of a folder.

    Args:
        path: File or folder.
        needs: Keys that every object must have.
        limit: Keep this many, spread evenly over the file. None keeps all.

    Raises:
        FileNotFoundError: no such file.
        ValueError: an empty file, a line that is no JSON object, or a missing key.
    """
    records = [
        _record(file, number, line, needs)
        for file in jsonl_files(Path(path))
        for number, line in enumerate(_lines(file), 1)
        if line.strip()
    ]
    if not records:
        raise ValueError(f"{path} is empty; name another file in suite.TASK.")
    return evenly(records, limit)


def check_turns(record: Record, source: str, least: int = 1) -> None:
    """Raise ValueError where ``messages`` of a record are fewer than ``least`` turns, or no turns of text."""
    turns = record["messages"]
    is_list = isinstance(turns, list) and all(isinstance(turn, dict) for turn in turns)
    if not is_list or not all(isinstance(turn.get(key), str) for turn in turns for key in ("role", "content")):
        raise ValueError(
            f"{source}: messages of record {record.get('id')!r} are not all role and content as text; write it again."
        )
    if len(turns) < least:
        raise ValueError(
            f"{source}: record {record.get('id')!r} has {len(turns)} messages, not {least} or more; write it again."
        )


def jsonl_files(path: Path) -> list[Path]:
    """The file itself, or the JSONL files of a folder.

    Raises:
        FileNotFoundError: neither is there.
    """
    if path.is_file():
        return [path]
    files = sorted(file for suffix in SUFFIXES for file in path.glob(f"*{suffix}"))
    if not files:
        raise FileNotFoundError(
            f"{path} does not exist or holds no JSONL; run the job that writes it, or name another."
        )
    return files


def _lines(file: Path) -> Iterator[str]:
    with opened(file) as stream:
        yield from stream


def opened(file: Path) -> IO[str]:
    """The text of a file, decompressed if its name ends in .gz or .zst.

    Raises:
        ModuleNotFoundError: zstandard is needed and not installed.
    """
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding="utf-8")
    if file.suffix != ".zst":
        return file.open(encoding="utf-8")
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(f"{file} needs zstandard; pip install zstandard.") from error
    return zstandard.open(file, "rt", encoding="utf-8")


def evenly(records: list[Record], limit: int | None) -> list[Record]:
    """At most ``limit`` records, spread evenly, in order."""
    if limit is None or limit >= len(records):
        return records
    return [records[index * len(records) // limit] for index in range(limit)]


def _record(path: Path, number: int, line: str, needs: tuple[str, ...]) -> Record:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}, line {number} is no JSON ({error.msg}); write the file again.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path}, line {number} is no JSON object; write the file again.")
    if missing := [key for key in needs if key not in record]:
        raise ValueError(f"{path}, line {number} lacks {missing[0]!r} (it has {', '.join(sorted(record))}).")
    return record
