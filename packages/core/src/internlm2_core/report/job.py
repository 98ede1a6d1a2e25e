"""The job ``internlm2 report``: figures of runs as one page and one JSON file."""

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from rich.console import Console

from internlm2_core.evaluation.written import write_json, write_text
from internlm2_core.report.page import render
from internlm2_core.report.parts import Parts
from internlm2_core.report.runs import Run, names_of
from internlm2_core.report.source import Source, load
from internlm2_core.report.target import Target

SCHEMA = "internlm2/report/2"


def report(
    runs: Sequence[str],
    sources: Sequence[Source],
    parts: Parts,
    output: str,
    title: str,
    targets: Sequence[Target] = (),
) -> dict[str, Any]:
    """Write ``OUTPUT/report.html`` and ``OUTPUT/report.json``.

    Args:
        runs: Folders of one run, or of several that are compared with the first.
        sources: What it is made from, in the order in which it is shown. What is missing is shown as missing.
        parts: How files are read and shown.
        output: Folder of the report.
        title: Title of the page.
        targets: What each run set out to reach.

    Returns:
        What ``report.json`` holds, laid out as ``schema.json`` says.

    Raises:
        ValueError: If there are no runs or no sources, two have the same title, a kind is not known, or a target names
            another source.
    """
    check_sources(sources, parts)
    found = []
    for name, folder in zip(names_of(runs), runs, strict=True):
        loaded = [load(source, Path(folder), parts.readers) for source in sources]
        by_title = {each.source.title: each for each in loaded}
        found.append(Run(name, folder, loaded, [target.check(name, by_title) for target in targets]))
    figures = {
        "schema": SCHEMA,
        "title": title,
        "runs": [{"name": run.name, "folder": run.folder} for run in found],
        "targets": [target for run in found for target in run.targets],
        "sources": [each.to_json(run.name) for run in found for each in run.loaded],
    }
    write_text(Path(output) / "report.html", render(title, found, parts.sections))
    write_json(Path(output) / "report.json", figures)
    tell(found, Path(output) / "report.html")
    return figures


def check_sources(sources: Sequence[Source], parts: Parts) -> None:
    """Refuse what could not be shown.

    Args:
        sources: All of them.
        parts: How they are read.

    Raises:
        ValueError: If a source is not what `report` can show.
    """
    titles = [source.title for source in sources]
    if not sources:
        raise ValueError("sources=[] of the report must hold one source or more.")
    if twice := {name for name in titles if titles.count(name) > 1}:
        raise ValueError(f"title={min(twice)!r} is that of several sources. Each must have a title of its own.")
    for source in sources:
        if source.kind not in parts.readers and not parts.absent:
            known = ", ".join(parts.readers)
            raise ValueError(f"kind={source.kind!r} of the source {source.title!r} must be one of {known}.")


def schema(parts: Parts) -> dict[str, Any]:
    """JSON Schema of ``report.json``, with the figures of each kind.

    Args:
        parts: Whose kinds are described.
    """
    whole: dict[str, Any] = json.loads((files("internlm2_core") / "report/schema.json").read_text(encoding="utf-8"))
    described = {kind: own for part in parts.known for kind, own in part.schemas.items()}
    whole["$defs"] |= {kind: own for kind, own in described.items() if kind not in whole["$defs"]}
    whole["properties"]["sources"]["items"]["allOf"] = [
        {
            "if": {"properties": {"kind": {"const": kind}, "status": {"const": "present"}}},
            "then": {"properties": {"figures": {"$ref": f"#/$defs/{kind}"}}},
        }
        for kind in described
    ]
    return whole


def tell(runs: Sequence[Run], page: Path) -> None:
    """Print targets, what is missing, and where the page is.

    Args:
        runs: What was found.
        page: The page.
    """
    console = Console(soft_wrap=True)
    for run in runs:
        if len(runs) > 1:
            console.print(run.name, style="bold", highlight=False, markup=False)
        for target in run.targets:
            value = "unknown" if target["value"] is None else f"{target['value']:.3f}"
            simulated = " (simulated annotator)" if target["simulated"] else ""
            line = f"{target['outcome']:<8} {target['title']}{simulated}: {value}, {target['bound']}"
            console.print(line, highlight=False)
        for each in run.absent():
            console.print(f"{each.status:<8} {each.source.title}: {each.reason}", style="yellow", highlight=False)
    console.print(str(page), highlight=False, soft_wrap=True)
