"""Blocks of several runs, laid beside each other.

    one run         its blocks as they are
    several         tables    a column for each run, and one for each difference from the first run
                    charts    the lines of all runs over each other
                    others    one after the other, named by their run, or once where all runs say the same

Blocks belong together by heading, kind and title, rows by their labels. What only some runs have is shown for these.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from internlm2_records.report import Block, Cell, Chart, Column, Example, Heading, Heat, Line, Row, Table, Text

SAME = "All runs say the same."
Key = tuple[Any, ...]
Path = tuple[str, str]
"""Label of a row of level 0, and of the row of level 1 below it."""


@dataclass(frozen=True)
class Compared:
    """A table of several runs.

    Attributes:
        title: What the figures are.
        first: Head of the labels.
        runs: Names of the runs.
        groups: Rows of figures by the label that they belong to.
        note: What a reader must know of them.
        simulated: Whether they rest on the simulated annotator.
    """

    title: str
    first: str
    runs: Sequence[str]
    groups: Sequence["Group"]
    note: str = ""
    simulated: bool = False


@dataclass(frozen=True)
class Group:
    """The figures of one label.

    Attributes:
        path: Its label, after that of the row it is a part of.
        row: As a run has it.
        figures: Column, cell of each run, and differences of the others from the first run.
    """

    path: Sequence[str]
    row: Row
    figures: Sequence[tuple[Column, Sequence[Cell], Sequence[float | None]]]


def beside(shown: Mapping[str, Sequence[Block]]) -> list[Block | Compared]:
    """Blocks of all runs as blocks of one page.

    Args:
        shown: Blocks of a section by name of the run.
    """
    if len(shown) == 1:
        return list(next(iter(shown.values())))
    by_key: dict[Key, dict[str, Block]] = {}
    order: list[Key] = []
    for run, blocks in shown.items():
        before = -1
        for key, block in keyed(blocks):
            if key in by_key:
                before = order.index(key)
            else:
                before += 1
                order.insert(before, key)
            by_key.setdefault(key, {})[run] = block
    return [made for key in order for made in laid_out(by_key[key], list(shown))]


def keyed(blocks: Sequence[Block]) -> Iterator[tuple[Key, Block]]:
    """Each block with what it is recognised by in another run."""
    heading, seen = "", dict[Key, int]()
    for block in blocks:
        if isinstance(block, Heading):
            heading = block.title
        name = block.text if isinstance(block, Text) else block.title
        key: Key = (heading, type(block).__name__, name)
        seen[key] = seen.get(key, 0) + 1
        yield (*key, seen[key]), block


def laid_out(blocks: Mapping[str, Block], runs: Sequence[str]) -> Iterator[Block | Compared]:
    """What is shown of one block.

    Args:
        blocks: By name of the run, of those that have it.
        runs: All runs.
    """
    every, [first, *others] = len(blocks) == len(runs), blocks.values()
    if isinstance(first, Heading):
        yield first
    elif every and all(other == first for other in others):
        yield replace(first, note=f"{first.note} {SAME}".strip()) if isinstance(first, Table | Chart) else first
    elif isinstance(first, Table):
        yield compared_table({run: block for run, block in blocks.items() if isinstance(block, Table)}, runs)
    elif isinstance(first, Chart):
        yield compared_chart({run: block for run, block in blocks.items() if isinstance(block, Chart)}, runs)
    else:
        for run, block in blocks.items():
            if isinstance(block, Text):
                yield replace(block, text=f"{run}: {block.text}")
            elif isinstance(block, Heat | Example):
                yield replace(block, title=f"{block.title} · {run}")


def compared_chart(charts: Mapping[str, Chart], runs: Sequence[str]) -> Chart:
    """The lines of all runs in one chart: a colour for each run, every second line of a run dashed.

    Args:
        charts: By name of the run.
        runs: All runs.
    """
    lines = [
        Line(
            f"{run} · {line.label}" if len(chart.lines) > 1 else run,
            line.xs, line.ys, line.dots, dashed=number % 2 == 1, color=runs.index(run),
        )
        for run, chart in charts.items()
        for number, line in enumerate(chart.lines)
    ]  # fmt: skip
    return replace(next(iter(charts.values())), lines=lines)


def compared_table(tables: Mapping[str, Table], runs: Sequence[str]) -> Compared:
    """The figures of all runs in one table.

    Args:
        tables: By name of the run.
        runs: All runs. One without the table has empty cells.
    """
    columns: dict[str, Column] = {}
    rows: dict[Path, Row] = {}
    cells: dict[tuple[Path, str], dict[str, Cell]] = {}
    for run, table in tables.items():
        columns |= {column.name: column for column in table.columns if column.compared}
        parent = ""
        for row in table.rows:
            parent = row.label if row.level == 0 else parent
            path = (parent, row.label if row.level else "")
            rows.setdefault(path, replace(row, small=""))
            for column, value in zip(table.columns, row.cells, strict=True):
                cell = value if isinstance(value, Cell) else Cell(value)
                cells.setdefault((path, column.name), {})[run] = cell
    groups = [
        Group([name for name in path if name], row, list(_figures(path, columns, cells, runs)))
        for path, row in rows.items()
    ]
    table = next(iter(tables.values()))
    return Compared(table.title, table.first, runs, groups, table.note, table.simulated)


def _figures(
    path: Path, columns: Mapping[str, Column], cells: Mapping[tuple[Path, str], Mapping[str, Cell]], runs: Sequence[str]
) -> Iterator[tuple[Column, Sequence[Cell], Sequence[float | None]]]:
    """The figures of a row that any run has."""
    for name, column in columns.items():
        found = cells.get((path, name), {})
        of_runs = [found.get(run, Cell(None)) for run in runs]
        if any(cell.value is not None for cell in of_runs):
            yield column, of_runs, differences(of_runs)


def differences(cells: Sequence[Cell]) -> list[float | None]:
    """Of all cells but the first from the first, None where one of the two is not a number."""
    base, *others = (cell.value for cell in cells)
    return [
        float(other) - float(base) if isinstance(base, int | float) and isinstance(other, int | float) else None
        for other in others
    ]
