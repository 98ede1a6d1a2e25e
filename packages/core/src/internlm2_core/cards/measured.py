"""What evaluations of a model have measured."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internlm2_core.report.sections.all_figures import DEEP, HEADLINES, leaves

SCHEMA = "internlm2/metrics/1"


@dataclass(frozen=True)
class Measured:
    """One figure.

    Attributes:
        task: Name of the task in the suite.
        kind: Of the task.
        version: Of the task. Figures of different versions do not compare.
        metric: Name of the figure.
        value: The figure.
    """

    task: str
    kind: str
    version: int
    metric: str
    value: float


def measured(files: Sequence[str], models: Sequence[Path]) -> list[Measured]:
    """Figures of evaluations, each of which must be of this model.

    Args:
        files: ``metrics.json`` of each.
        models: Folders that hold this model.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a file is not an evaluation, or of another model.
    """
    found = []
    for file in files:
        if not Path(file).is_file():
            raise FileNotFoundError(f"evaluations={file} is not there. `internlm2 evaluate` writes metrics.json.")
        metrics = json.loads(Path(file).read_text(encoding="utf-8"))
        if not isinstance(metrics, dict) or metrics.get("schema") != SCHEMA:
            raise ValueError(f"evaluations={file} must be metrics.json of an evaluation, with schema={SCHEMA!r}.")
        checkpoint = (metrics["model"] or {}).get("checkpoint", "")
        if Path(checkpoint).resolve() not in [model.resolve() for model in models]:
            named = " or ".join(map(str, models))
            raise ValueError(f"evaluations={file} is of checkpoint={checkpoint}, and must be of {named}.")
        for name, task in metrics["tasks"].items():
            found += [
                Measured(name, task["kind"], task["version"], metric, value)
                for metric, value in headlines(task).items()
            ]
    return found


def headlines(task: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a task that a card shows: those of `HEADLINES`, or of other kinds the first level.

    Args:
        task: Its figures.
    """
    wanted = HEADLINES.get(task["kind"])
    every = {
        key: float(value) for key, value in leaves(task, depth=DEEP if wanted else 1) if isinstance(value, int | float)
    }
    return {key.rpartition(" › ")[2]: value for key, value in every.items() if not wanted or key in wanted}
