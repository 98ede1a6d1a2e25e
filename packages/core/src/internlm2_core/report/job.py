"""The job ``internlm2 report``: figures of a run as one page and one JSON file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from internlm2_core.evaluation.written import write_json, write_text
from internlm2_core.report.page import render
from internlm2_core.report.source import Source, load
from internlm2_core.report.target import Target

SCHEMA = "internlm2/report/1"


def report(sources: Sequence[Source], output: str, title: str, targets: Sequence[Target] = ()) -> dict[str, Any]:
    """Write ``OUTPUT/report.html`` and ``OUTPUT/report.json``.

    Args:
        sources: What it is made from, in the order in which it is shown. What is missing is shown as missing.
        output: Folder of the report.
        title: Title of the page.
        targets: What the run set out to reach.

    Returns:
        What ``report.json`` holds, laid out as ``schema.json`` says.

    Raises:
        ValueError: If there are no sources, two have the same title, or a target names another one.
    """
    titles = [source.title for source in sources]
    if not sources:
        raise ValueError("sources=[] of the report must hold one source or more.")
    if twice := {name for name in titles if titles.count(name) > 1}:
        raise ValueError(f"title={min(twice)!r} is that of several sources. Each must have a title of its own.")
    loaded = {source.title: load(source) for source in sources}
    checked = [target.check(loaded) for target in targets]
    found = [item.to_json() for item in loaded.values()]
    figures = {"schema": SCHEMA, "title": title, "targets": checked, "sources": found}
    write_text(Path(output) / "report.html", render(title, list(loaded.values()), checked))
    write_json(Path(output) / "report.json", figures)
    tell(checked, found, Path(output) / "report.html")
    return figures


def tell(targets: Sequence[dict[str, Any]], sources: Sequence[dict[str, Any]], page: Path) -> None:
    """Print targets, what is missing, and where the page is.

    Args:
        targets: Entries of ``report.json``.
        sources: Entries of ``report.json``.
        page: The page.
    """
    console = Console(soft_wrap=True)
    for target in targets:
        value = "unknown" if target["value"] is None else f"{target['value']:.3f}"
        simulated = " (simulated annotator)" if target["simulated"] else ""
        console.print(
            f"{target['outcome']:<8} {target['title']}{simulated}: {value}, {target['bound']}", highlight=False
        )
    for source in sources:
        if source["status"] != "present":
            console.print(
                f"{source['status']:<8} {source['title']}: {source['reason']}", style="yellow", highlight=False
            )
    console.print(str(page), highlight=False, soft_wrap=True)
