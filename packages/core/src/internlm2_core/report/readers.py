"""How the files of core's jobs are read.

============  =========================================================================================
`curves`      ``metrics.csv`` of Lightning's CSVLogger: named columns over steps, validation, throughput
`evaluation`  ``metrics.json`` of ``internlm2 evaluate``
`record`      folder of a run: the ``manifest.json`` of every stage in it
============  =========================================================================================
"""

import csv
import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from internlm2_records.report import Reader, json_reader

Figures = dict[str, Any]
Points = list[tuple[int, float]]

MAX_POINTS = 200
"""Points of a curve that are kept. Where there are more, neighbouring ones are averaged."""

VALIDATION = "valid/"
MEANS = ("tokens_per_s", "tflops", "mfu", "mfu_internevo", "padding")
"""Figures of speed, as logged below ``train/``, of which the mean is kept."""
LAST = ("tokens", "steps_left_out", "loss")
"""Figures below ``train/`` of which the last is kept."""

EXCERPT = ("stage", "command", "seconds", "config_hash", "code_hash", "build", "inputs")


def read_curves(path: Path, columns: Mapping[str, str]) -> Figures:
    """Columns of a CSV file over its column ``step``.

    Args:
        path: The file.
        columns: Label of each column that is drawn.

    Returns:
        ``series`` holds ``steps`` and ``values`` of equal length and ``rows_per_point`` by label, ``validation`` the
        same of each column ``valid/NAME`` by NAME. ``missing_columns`` names the columns that the file has not.
        ``speed`` holds the means of `MEANS`, the last of `LAST` and ``steps``, None where that was not logged.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    points: dict[str, Points] = defaultdict(list)
    for row in rows:
        for column, value in row.items():
            if column and value not in (None, "") and (number := _number(value)) is not None:
                points[column].append((int(float(row["step"])), number))
    names = [column for column in points if column.startswith(VALIDATION)]
    return {
        "series": {label: thinned(points[column]) for column, label in columns.items() if column in points},
        "validation": {name.removeprefix(VALIDATION): thinned(points[name]) for name in names},
        "missing_columns": [column for column in columns if column not in points],
        "speed": _speed(points, max((int(float(row["step"])) + 1 for row in rows), default=0)),
    }


def _number(value: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _speed(points: Mapping[str, Points], steps: int) -> Figures:
    means = {name: [value for _, value in points.get(f"train/{name}", ())] for name in MEANS}
    last = {name: points.get(f"train/{name}", ()) for name in LAST}
    return (
        {"steps": steps}
        | {name: sum(values) / len(values) if values else None for name, values in means.items()}
        | {name: found[-1][1] if found else None for name, found in last.items()}
    )


def thinned(points: Sequence[tuple[int, float]], limit: int = MAX_POINTS) -> Figures:
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


READERS: dict[str, Reader] = {
    "curves": read_curves,
    "evaluation": json_reader("model", "tasks", schema="internlm2/metrics/1"),
    "record": read_record,
}
