"""The report as one HTML page that loads nothing from elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from internlm2_core.report import charts, tables
from internlm2_core.report.source import Loaded


def render(title: str, loaded: Sequence[Loaded], targets: Sequence[Mapping[str, Any]]) -> str:
    """The page.

    Args:
        title: Title of the page.
        loaded: All sources, in the order in which they are shown.
        targets: Entries as `Target.check` makes them.

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
    environment.filters |= {"percent": percent, "figure": figure, "megabytes": megabytes, "clock": clock}
    environment.globals |= {"charts": charts, "tables": tables}
    kinds: dict[str, list[Loaded]] = {}
    for item in loaded:
        kinds.setdefault(item.source.kind, []).append(item)
    # The wording of what is missing belongs to the section in which a reader looks for it.
    return environment.get_template("page.html.j2").render(title=title, targets=targets, kinds=kinds, loaded=loaded)


def percent(share: float | None) -> str:
    """A share in percent, one decimal unless it is whole. The space does not break."""
    if share is None:
        return "–"
    return f"{100 * share:.1f}".removesuffix(".0") + "\u202f%"


def figure(value: float | None, digits: int = 3) -> str:
    """A number, or a dash for None.

    Args:
        value: The number.
        digits: Its decimals.
    """
    return "–" if value is None else f"{value:,.{digits}f}"


def megabytes(num_bytes: float) -> str:
    """Bytes as megabytes of 10**6."""
    return f"{num_bytes / 1e6:,.2f}" if num_bytes < 1e8 else f"{num_bytes / 1e6:,.0f}"


def clock(seconds: float | None) -> str:
    """Seconds as minutes and seconds."""
    if seconds is None:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
