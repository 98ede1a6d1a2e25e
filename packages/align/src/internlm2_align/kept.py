"""Answers that were paid for, kept in a file as they come, so that nothing is computed or asked twice."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


class Kept:
    """Records by key, appended to a file of JSON lines. What a killed process has left of a line is cut off.

    Args:
        file: Where. It is made by the first record.

    Raises:
        ValueError: If a line is broken.
    """

    def __init__(self, file: str | Path) -> None:
        self.file = Path(file)
        self._records: dict[str, Any] = {}
        if not self.file.is_file():
            return
        text = self.file.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            os.truncate(self.file, len(whole))
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                record = json.loads(line)
                self._records[record["key"]] = record["value"]
            except (ValueError, TypeError, KeyError) as error:
                raise ValueError(
                    f"{self.file}, line {number} is not a kept answer: {error}. Delete the file to begin anew."
                ) from error

    def __len__(self) -> int:
        """Records that are there."""
        return len(self._records)

    def __contains__(self, key: str) -> bool:
        """Whether there is a record."""
        return key in self._records

    def __getitem__(self, key: str) -> Any:
        """The value under a key."""
        return self._records[key]

    def add(self, records: Iterable[tuple[str, Any]]) -> None:
        """Keep some records. They are on disk when this returns.

        Args:
            records: Keys with values of JSON. The last value of a key counts.
        """
        found = list(records)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"key": key, "value": value}, ensure_ascii=False) + "\n" for key, value in found]
        with self.file.open("a", encoding="utf-8") as stream:
            stream.write("".join(lines))
            stream.flush()
            os.fsync(stream.fileno())
        self._records |= dict(found)


def key_of(*parts: object) -> str:
    """A key that says what an answer is to.

    Args:
        *parts: Values of JSON on which the answer depends.
    """
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def files_of(folder: str | Path) -> list[list[object]]:
    """Names, sizes and times of the files of a folder: what tells a model from the next one in its place."""
    found: Mapping[str, os.stat_result] = {path.name: path.stat() for path in Path(folder).iterdir() if path.is_file()}
    return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in sorted(found.items())]
