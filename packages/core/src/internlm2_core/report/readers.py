"""How each kind of file is read.

===============  ======================================================================================
`funnel`         ``funnel.json`` of a data pipeline: documents and bytes after each stage, and reasons
`vocabulary`     ``card.json`` of a trained vocabulary
`curves`         ``metrics.csv`` of Lightning's CSVLogger: named columns over steps
`evaluation`     ``metrics.json`` of ``internlm2 evaluate``
`labels`         ``metrics.json`` of ``internlm2 label``
`reward`         ``metrics.json`` of ``internlm2 reward``
`ppo`            ``metrics.json`` of ``internlm2 ppo``
`online_rlhf`    ``metrics.json`` of ``internlm2 online_rlhf``
`record`         folder of a run: the ``manifest.json`` of every stage in it
===============  ======================================================================================
"""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
MAX_POINTS = 200
"""Points of a curve that are kept. Where there are more, neighbouring ones are averaged."""

EXCERPT = ("stage", "command", "seconds", "config_hash", "code_hash", "build", "inputs")


def read_json(path: Path, needs: tuple[str, ...]) -> Figures:
    """A JSON object with some keys.

    Args:
        path: The file.
        needs: The keys.

    Raises:
        ValueError: If the file holds something else.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict) or (missing := [key for key in needs if key not in value]):
        lacking = needs if not isinstance(value, dict) else missing
        raise ValueError(f"It must be an object with {', '.join(lacking)}.")
    return value


def json_with(*needs: str, schema: str | None = None) -> Callable[[Path, Mapping[str, str]], Figures]:
    """A reader of JSON objects.

    Args:
        needs: Keys that an object must have.
        schema: Its ``schema``. None reads any.
    """

    def read(path: Path, columns: Mapping[str, str]) -> Figures:
        value = read_json(path, needs)
        if schema is not None and value.get("schema") != schema:
            raise ValueError(f"schema={value.get('schema')!r} must be {schema!r}.")
        return value

    return read


def read_funnel(path: Path, columns: Mapping[str, str]) -> Figures:
    """Counts of each stage, without the list of single faults.

    Args:
        path: The file.
        columns: Not used.
    """
    value = read_json(path, ("stages", "shares"))
    stages = [{name: part for name, part in stage.items() if name != "faults"} for stage in value["stages"]]
    return {"stages": stages, "shares": value["shares"]}


def read_curves(path: Path, columns: Mapping[str, str]) -> Figures:
    """Named columns of a CSV file over its column ``step``.

    Args:
        path: The file.
        columns: Label of each column.

    Returns:
        ``series`` holds ``steps`` and ``values`` of equal length and ``rows_per_point`` by label. ``missing_columns``
        names the columns that the file has not.
    """
    points: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with path.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            for column in columns:
                if row.get(column) not in (None, "") and math.isfinite(float(row[column])):
                    points[column].append((int(float(row["step"])), float(row[column])))
    series = {label: thinned(points[column]) for column, label in columns.items() if column in points}
    return {"series": series, "missing_columns": [column for column in columns if column not in points]}


def thinned(points: list[tuple[int, float]], limit: int = MAX_POINTS) -> Figures:
    """Points of which neighbouring ones are averaged.

    Args:
        points: Step and value of each.
        limit: The most points that are left.
    """
    stretch = -(-len(points) // limit)
    groups = [points[start : start + stretch] for start in range(0, len(points), stretch)]
    return {
        "steps": [group[-1][0] for group in groups],
        "values": [sum(value for _, value in group) / len(group) for group in groups],
        "rows_per_point": stretch,
    }


def read_record(path: Path, columns: Mapping[str, str]) -> Figures:
    """Excerpts of the manifests of a run, each stage after those that it reads.

    Args:
        path: Folder of the run.
        columns: Not used.

    Raises:
        ValueError: If the folder holds no manifests.
    """
    manifests = {m["stage"]: m for m in (json.loads(file.read_text()) for file in path.glob("*/manifest.json"))}
    if not manifests:
        raise ValueError("It holds no STAGE/manifest.json.")
    needs = {name: sorted(set(manifests[name]["inputs"]) & manifests.keys()) for name in sorted(manifests)}
    return {"stages": [excerpt(manifests[name]) for name in TopologicalSorter(needs).static_order()]}


def excerpt(manifest: Mapping[str, Any]) -> Figures:
    """What a reader of the report wants from a manifest."""
    sizes = [output["bytes"] for output in manifest["outputs"].values()]
    memory = [value for name, value in manifest.items() if name.startswith("peak_memory_mb")]
    known = {name: manifest[name] for name in EXCERPT if name in manifest}
    return known | {
        "peak_memory_mb": memory[0] if memory else None,
        "output_files": len(sizes),
        "output_bytes": sum(sizes),
    }


READERS: dict[str, Callable[[Path, Mapping[str, str]], Figures]] = {
    "funnel": read_funnel,
    "vocabulary": json_with("size", "bytes_per_token"),
    "curves": read_curves,
    "evaluation": json_with("model", "tasks", schema="internlm2/metrics/1"),
    "labels": json_with("annotator", "sets", schema="internlm2/align/label/1"),
    "reward": json_with("heldout", "conditional", schema="internlm2/align/reward/1"),
    "ppo": json_with("start", "best", "last", "history", schema="internlm2/align/ppo/1"),
    "online_rlhf": json_with("annotator", "rounds", schema="internlm2/align/online_rlhf/1"),
    "record": read_record,
}
