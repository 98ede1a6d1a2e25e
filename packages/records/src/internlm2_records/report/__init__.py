"""What a package shows of its figures in the report of a run.

    files of a run ── readers of a `Part` ──► `Found` ── sections of a `Part` ──► blocks ── internlm2-core ──► one page

A section says *what* is shown, in blocks of plain values. How it looks, and how several runs are laid beside each
other, is the page's own matter. Blocks of several runs are matched by their titles, rows by their labels.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from internlm2_records.report.blocks import (
    Block,
    Cell,
    Chart,
    Column,
    Example,
    Form,
    Heading,
    Heat,
    Line,
    Row,
    Table,
    Text,
    Value,
)

__all__ = [
    "Block",
    "Cell",
    "Chart",
    "Column",
    "Example",
    "Form",
    "Found",
    "Heading",
    "Heat",
    "Line",
    "Part",
    "Reader",
    "Row",
    "Section",
    "Table",
    "Text",
    "Value",
    "json_reader",
]


@dataclass(frozen=True)
class Found:
    """A file of a run that could be read.

    Attributes:
        kind: What it is. A part has a reader for it.
        title: Its name in the report.
        figures: What the reader gave.
        note: One sentence that is shown with it.
        simulated: Whether its figures rest on the simulated annotator.
    """

    kind: str
    title: str
    figures: Mapping[str, Any]
    note: str = ""
    simulated: bool = False

    @property
    def heading(self) -> Heading:
        """Its title over what is shown of it."""
        return Heading(self.title, self.note, self.simulated)


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes:
        name: Its anchor.
        title: Its title.
        place: Sections are shown in the order of these numbers.
        kinds: What it is made of.
        show: Gives the blocks of one run. It gets what is there of these kinds, and is not called without any.
        optional: Whether the section is left out where it has nothing to show.
    """

    name: str
    title: str
    place: int
    kinds: Sequence[str]
    show: Callable[[Sequence[Found]], Iterable[Block]]
    optional: bool = False


Reader = Callable[[Path, Mapping[str, str]], dict[str, Any]]
"""Gives the figures of a file or folder, in JSON types. It may take names of columns and their labels.

It raises ``ValueError``, ``KeyError`` or ``OSError`` where the file is not what it should be.
"""


@dataclass(frozen=True)
class Part:
    """What a package adds to the report.

    Attributes:
        readers: A reader for each kind of file.
        sections: What is shown of them.
        schemas: JSON Schema of the figures by kind.
    """

    readers: Mapping[str, Reader]
    sections: Sequence[Section]
    schemas: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def json_reader(*needs: str, schema: str | None = None) -> Reader:
    """A reader of JSON objects.

    Args:
        needs: Keys that an object must have.
        schema: Its ``schema``. None reads any.
    """

    def read(path: Path, columns: Mapping[str, str]) -> dict[str, Any]:
        value = json.loads(path.read_text(encoding="utf-8"))
        lacking = [key for key in needs if key not in value] if isinstance(value, dict) else list(needs)
        if not isinstance(value, dict) or lacking:
            raise ValueError(f"It must be an object with {', '.join(lacking)}.")
        if schema is not None and value.get("schema") != schema:
            raise ValueError(f"schema={value.get('schema')!r} must be {schema!r}.")
        return value

    return read
