"""What the report of a run is made of: headings, texts, tables, charts, maps and examples, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Form = Literal["text", "code", "count", "number", "share", "bar", "points", "megabytes", "seconds"]
"""How values of a column are written. ``share`` and ``bar`` are shares of 1, ``points`` are percent already."""

Value = str | float | int | None


@dataclass(frozen=True)
class Heading:
    """What the blocks after it are about.

    Attributes:
        title: In words.
        note: One sentence that belongs to it.
        simulated: Whether figures rest on the simulated annotator.
    """

    title: str
    note: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Text:
    """A paragraph.

    Attributes:
        text: Its sentences.
        soft: Whether it is a remark.
    """

    text: str
    soft: bool = False


@dataclass(frozen=True)
class Cell:
    """A value with small print.

    Attributes:
        value: The value, or None where there is none.
        small: What is shown below it.
    """

    value: Value
    small: str = ""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: Its head.
        form: How its values are written.
        digits: Decimals of a ``number``.
        better: Whether higher or lower values are better, where that is so. Differences of runs are coloured by it.
        compared: Whether it is shown when runs are compared.
    """

    name: str
    form: Form = "number"
    digits: int = 3
    better: Literal["higher", "lower", ""] = ""
    compared: bool = True


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: What it is about.
        cells: A value for each column.
        level: 0, or 1 if it is a part of the last row of level 0.
        strong: Whether it sums up the others.
        small: What is shown below the label.
    """

    label: str
    cells: Sequence[Cell | Value]
    level: int = 0
    strong: bool = False
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of figures.

    Attributes:
        title: What they are. It may be empty where a heading says it.
        first: Head of the labels.
        columns: The other columns.
        rows: The rows.
        note: What a reader must know of them.
        simulated: Whether they rest on the simulated annotator.
    """

    title: str
    first: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Line:
    """One series of a chart.

    Attributes:
        label: Its name.
        xs: Places of the points.
        ys: Their values.
        dots: Whether each point is marked.
        dashed: Whether it is drawn with gaps.
        color: Number of its colour. None takes that of its place in the chart.
    """

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    dots: bool = False
    dashed: bool = False
    color: int | None = None


@dataclass(frozen=True)
class Chart:
    """Lines over a common axis.

    Attributes:
        title: What runs upwards, with its unit.
        lines: The series. A chart without points is left out.
        x_label: What runs to the right, with its unit.
        note: How it was drawn, where that matters.
        simulated: Whether it rests on the simulated annotator.
    """

    title: str
    lines: Sequence[Line]
    x_label: str
    note: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Heat:
    """Shares of 1 over two axes.

    Attributes:
        title: What they are.
        corner: What the rows are.
        rows: Their labels.
        columns: Labels of the columns.
        grid: Shares, a list for each row. None where there is none.
        mean: Of all cells.
    """

    title: str
    corner: str
    rows: Sequence[str]
    columns: Sequence[str]
    grid: Sequence[Sequence[float | None]]
    mean: float | None = None


@dataclass(frozen=True)
class Example:
    """A prompt and a reply.

    Attributes:
        title: What it is an example of.
        prompt: What was asked.
        reply: What was said.
        figures: What was measured of it, by name.
    """

    title: str
    prompt: str
    reply: str
    figures: Mapping[str, Value] = field(default_factory=dict)


Block = Heading | Text | Table | Chart | Heat | Example
