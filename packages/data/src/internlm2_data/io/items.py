"""What readers give."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Item:
    """One thing to turn into a document.

    Attributes:
        content: HTML bytes, or text.
        html: whether it is HTML, whose main text must be found first.
        charset: what the HTTP header says, if anything.
        record: fields that the source knows (url, dump, date, source, language, type, ...).
    """

    content: bytes | str
    html: bool = False
    charset: str = ""
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that could not be read.

    Attributes:
        file: the input.
        offset: where in it: bytes, or for line-based formats the line (`unit`).
        what: one clause.
        unit: "byte", "line" or "row".
    """

    file: str
    offset: int
    what: str
    unit: str = "byte"

    def to_json(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)
