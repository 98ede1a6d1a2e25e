"""Records of tasks, as `internlm2_records` reads them, and a spread selection of them."""

from pathlib import Path
from typing import TypeVar

from internlm2_records import Placed, read_records

T = TypeVar("T")


def placed_records(path: str | Path, limit: int | None = None) -> list[Placed]:
    """The records of a file or folder, each with its place.

    Args:
        path: File or folder, see `internlm2_records.read_records`.
        limit: Records that are kept, spread evenly. None keeps all.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If there are no records.
    """
    found = list(read_records(path))
    if not found:
        raise ValueError(f"{path} is empty.")
    return evenly(found, limit)


def evenly(items: list[T], limit: int | None) -> list[T]:
    """Some of a list, spread evenly, in order.

    Args:
        items: The list.
        limit: The most that are kept. None keeps all.
    """
    if limit is None or limit >= len(items):
        return items
    return [items[index * len(items) // limit] for index in range(limit)]
