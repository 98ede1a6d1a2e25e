"""Files as people list them: one or several, each a path, the arguments of its kind, or one that is made already."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def listed(files: Any, kind: type[T], example: str) -> list[T]:
    """Files of one kind as a list.

    Args:
        files: A path, a mapping with the arguments of ``kind``, one of ``kind``, or a sequence of these.
        kind: A dataclass with a ``path``.
        example: What a mapping may look like, for the error.

    Raises:
        ValueError: If an entry names no path or has an unknown key.
    """
    entries: Sequence[Any] = [files] if isinstance(files, (str, Path, Mapping, kind)) else files
    return [entry if isinstance(entry, kind) else _made(entry, kind, example) for entry in entries]


def _made(entry: str | Path | Mapping[str, Any], kind: type[T], example: str) -> T:
    arguments = dict(entry) if isinstance(entry, Mapping) else {"path": entry}
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    unknown = [name for name in arguments if name not in known]
    if unknown or "path" not in arguments:
        wrong = f"has {unknown[0]!r}" if unknown else "names no path"
        raise ValueError(f"{arguments} {wrong}. A file has keys {', '.join(known)}, as in {example}.")
    return kind(**arguments)
