"""Writing results so that a reader finds a whole file or none."""

import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_text(file: Path, text: str) -> None:
    """Write beside the target, flush to disk, rename.

    Args:
        file: The target.
        text: What it shall hold.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, draft = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(draft).chmod(0o644)
        Path(draft).replace(file)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def write_json(file: Path, value: Mapping[str, Any]) -> None:
    """Write indented JSON.

    Args:
        file: The target.
        value: What it shall hold.

    Raises:
        ValueError: If a number is not finite. JSON has no such numbers.
    """
    write_text(file, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(file: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Write one object a line.

    Args:
        file: The target.
        records: The objects.
    """
    write_text(file, "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records))
