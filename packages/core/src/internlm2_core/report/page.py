"""The report as one HTML page that loads nothing from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from internlm2_records.report import Block, Cell, Chart, Column, Section, Value

from internlm2_core.report.compare import Compared, beside
from internlm2_core.report.lines import color_of, line_chart
from internlm2_core.report.runs import Run
from internlm2_core.report.values import difference, figure, judged, percent, written

GRIDS = ("Chart", "Heat", "Example")
"""Blocks that share a line where there is room."""


@dataclass(frozen=True)
class Shown:
    """A section with what is in it.

    Attributes:
        name: Its anchor.
        title: Its title.
        groups: Kind of the blocks and the blocks, in order.
        absent: Titles of sources that are not there, with the run where there are several.
    """

    name: str
    title: str
    groups: Sequence[tuple[str, Sequence[Block | Compared]]]
    absent: Sequence[str]


def render(title: str, runs: Sequence[Run], sections: Sequence[Section]) -> str:
    """The page.

    Args:
        title: Title of the page.
        runs: What was found.
        sections: What is shown of it, in order.

    Raises:
        ModuleNotFoundError: If jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('jinja2 is not installed: pip install "internlm2-core[report]".') from error
    environment = Environment(
        loader=PackageLoader("internlm2_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "figure": figure}
    environment.globals |= {
        "written": written,
        "difference": difference,
        "judged": judged,
        "cell": cell,
        "is_number": is_number,
    }
    environment.globals |= {"line_chart": line_chart, "color_of": color_of}
    shown = [made for section in sections if (made := show(section, runs))]
    glances = list(dict.fromkeys(name for run in runs for name in run.glance()))
    return environment.get_template("page.html.j2").render(title=title, runs=runs, sections=shown, glances=glances)


def show(section: Section, runs: Sequence[Run]) -> Shown | None:
    """A section of all runs, or None where no run was to have it.

    Args:
        section: The section.
        runs: What was found.
    """
    if not any(each.source.kind in section.kinds for run in runs for each in run.loaded):
        return None
    blocks: dict[str, Sequence[Block]] = {}
    for run in runs:
        found = [each.found for each in run.present(*section.kinds)]
        made = list(section.show(found)) if found else []
        blocks[run.name] = [block for block in made if not isinstance(block, Chart) or drawn(block)]
    if section.optional and not any(blocks.values()):
        return None
    absent = [
        each.source.title + (f" ({run.name})" if len(runs) > 1 else "")
        for run in runs
        for each in run.absent(*section.kinds)
    ]
    groups = [(kind, list(same)) for kind, same in groupby(beside(blocks), lambda block: type(block).__name__)]
    return Shown(section.name, section.title, groups, absent)


def drawn(chart: Chart) -> Sequence[Any]:
    """The lines of a chart that have points."""
    return [line for line in chart.lines if len(line.xs)]


def cell(value: Cell | Value) -> Cell:
    """A value as a cell."""
    return value if isinstance(value, Cell) else Cell(value)


def is_number(column: Column) -> bool:
    """Whether values of a column are set to the right."""
    return column.form not in ("text", "code", "bar")
