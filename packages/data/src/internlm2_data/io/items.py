"""What readers give."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from internlm2_records import Placed

TEXT_KEYS = ("text", "content", "raw_content")


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to turn into a document.

    Attributes:
        content: HTML bytes, or text.
        html: Whether it is HTML, whose main text must be found first.
        charset: What the HTTP header says, if anything.
        record: Fields that the source knows (url, dump, date, source, language, type, ...).
    """

    content: bytes | str
    html: bool = False
    charset: str = ""
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that could not be read.

    Attributes:
        file: The input.
        offset: Where in it: bytes, or for line-based formats the line (`unit`).
        what: One clause.
        unit: "byte", "line" or "row".
    """

    file: str
    offset: int
    what: str
    unit: str = "byte"

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Passed:
    """Something that came in and is not a document.

    Attributes:
        reason: What it is. Things of one reason are counted together, so it names no place.
    """

    reason: str


def items_of(reader: Callable[[Path], Iterable[Placed]]) -> Callable[[Path], Iterator[Item | Fault]]:
    """A reader of items, given one of records: their text is under one of `TEXT_KEYS`, and other keys are kept."""

    def read(path: Path) -> Iterator[Item | Fault]:
        return map(_item, reader(path))

    return read


def _item(placed: Placed) -> Item | Fault:
    record, fault = placed.value, placed.fault
    holder = None if fault else _holder_of_text(record)
    if holder is None:
        keys = f". Its keys are {', '.join(map(str, record))}" if isinstance(record, dict) else ""
        fault = fault or f"no string under {' or '.join(TEXT_KEYS)}{keys}"
        return Fault(str(placed.file), placed.number, fault, placed.unit)
    text = holder.pop(next(key for key in TEXT_KEYS if isinstance(holder.get(key), str)))
    return Item(text, record={key: value for key, value in record.items() if value is not None})


def _holder_of_text(record: Any) -> dict[str, Any] | None:
    """The object that holds the text: the record, or the only one of its values that does."""
    if not isinstance(record, dict):
        return None
    holders = [part for part in (record, *record.values()) if isinstance(part, dict)]
    found = [part for part in holders if any(isinstance(part.get(key), str) for key in TEXT_KEYS)]
    return found[0] if found and (found[0] is record or len(found) == 1) else None
