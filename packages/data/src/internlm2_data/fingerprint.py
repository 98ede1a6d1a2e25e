"""Fingerprints: whether work was done already, with these inputs and this configuration."""

import hashlib
import json
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from internlm2_data import __version__
from internlm2_data.stores import InputFile, StoreFile


def describe(thing: Any) -> Any:
    """What decides an object's behaviour, in JSON types: its class and public attributes, all the way down.

    Attributes that begin with an underscore are taken as derived from the others. A `Path` to a file is described by
    the file's content.
    """
    if thing is None or isinstance(thing, str | int | float | bool):
        return thing
    if isinstance(thing, Path):
        return file_digest(thing) if thing.is_file() else str(thing)
    if isinstance(thing, dict):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, set | frozenset):
        return sorted(map(describe, thing), key=str)
    if isinstance(thing, list | tuple):
        return [describe(value) for value in thing]
    names = list(thing.__dataclass_fields__) if is_dataclass(thing) else list(getattr(thing, "__dict__", {}))
    return {
        "class": f"{type(thing).__module__}.{type(thing).__qualname__}",
        **{name: describe(getattr(thing, name)) for name in names if not name.startswith("_")},
    }


def fingerprint(*things: Any) -> str:
    """32 hex digits that change when any of the things does, or the package's version."""
    text = json.dumps([__version__, *map(describe, things)], sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """BLAKE2b of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def file_stamp(path: InputFile) -> list[Any]:
    """A cheap substitute for the content of an input: name, size, and time of change or what its store has for that."""
    if isinstance(path, StoreFile):
        return [path.url, path.stamp]
    if path.is_dir():
        return [str(path), *(_child_stamp(child) for child in sorted(path.iterdir()))]
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _child_stamp(path: Path) -> list[Any]:
    # A link may lead nowhere, or to a folder that holds it.
    return [str(path), str(path.readlink())] if path.is_symlink() and not path.is_file() else file_stamp(path)
