"""Runs of a sweep as a table, with intervals over seeds.

Runs of a sweep differ in some overrides. Those that differ in the seed alone are repetitions of one setting: their mean
is given with a 95% interval of Student's t over seeds. It says how far another set of seeds might lie off, and nothing
of other data. Differences between settings are taken seed by seed, so that what runs of one seed share cancels out.
"""

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95% quantiles of Student's t for 1 to 10 degrees of freedom. Beyond that 2.2 is on the safe side."""


@dataclass(frozen=True)
class Run:
    """One training of a sweep.

    Attributes:
        setting: Its overrides without the seed.
        seed: Its seed, as typed.
        figures: Figures by column.
    """

    setting: str
    seed: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Cell:
    """Mean over seeds and half the width of its 95% interval. The width is nan for a single seed."""

    mean: float
    half_width: float

    def show(self, scale: float = 1.0, digits: int = 2) -> str:
        """The mean with its interval.

        Args:
            scale: Factor of both, 100 for percent.
            digits: Behind the point.
        """
        if math.isnan(self.half_width):
            return f"{scale * self.mean:.{digits}f}"
        return f"{scale * self.mean:.{digits}f} ± {scale * self.half_width:.{digits}f}"


def read_runs(jobs: Sequence[Path], figures: Callable[[Path], dict[str, float]]) -> list[Run]:
    """The finished runs of a sweep.

    Args:
        jobs: Their folders, in the sweep's order. A sweep's folder may hold jobs of an earlier one too.
        figures: Reads those of a run from its folder.

    Raises:
        ValueError: If there is none.
    """
    if not jobs:
        raise ValueError("No job of the sweep has finished. The same hydra.sweep.dir resumes it.")
    runs = []
    for job in jobs:
        overrides = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        words = dict(word.split("=", 1) for word in overrides)
        seed = words.pop("seed", "1")
        setting = " ".join(f"{key}={value}" for key, value in words.items())
        runs.append(Run(setting, seed, figures(job)))
    return _without_common_words(runs)


def _without_common_words(runs: Sequence[Run]) -> list[Run]:
    """Leave out the overrides that all settings have."""
    words = [set(run.setting.split(" ")) for run in runs]
    common = set.intersection(*words)
    return [
        Run(" ".join(word for word in run.setting.split(" ") if word not in common) or "default", run.seed, run.figures)
        for run in runs
    ]


def table(runs: Iterable[Run]) -> dict[str, dict[str, Cell]]:
    """Setting -> column -> mean with interval."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in runs:
        for column, value in run.figures.items():
            values[run.setting][column].append(value)
    return {setting: {name: _cell(found) for name, found in columns.items()} for setting, columns in values.items()}


def differences(runs: Iterable[Run]) -> dict[str, dict[str, Cell]]:
    """The first setting minus each other, over seeds that both have: ``"A - B"`` -> column -> mean difference."""
    figures: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for run in runs:
        figures[run.setting][run.seed] = run.figures
    first, *others = figures
    return table(
        Run(f"{first} - {other}", seed, _minus(ours, figures[other][seed]))
        for other in others
        for seed, ours in figures[first].items()
        if seed in figures[other]
    )


def _minus(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """Differences of the figures that both have."""
    return {name: value - theirs[name] for name, value in ours.items() if name in theirs}


def _cell(values: Sequence[float]) -> Cell:
    if len(values) < 2:
        return Cell(values[0], math.nan)
    quantile = T_975[len(values) - 2] if len(values) - 2 < len(T_975) else 2.2
    return Cell(statistics.mean(values), quantile * statistics.stdev(values) / math.sqrt(len(values)))


def columns_of(rows: Mapping[str, Mapping[str, Cell]]) -> list[str]:
    """The columns of all settings, in the order in which they come."""
    return list(dict.fromkeys(column for cells in rows.values() for column in cells))


def as_json(rows: Mapping[str, Mapping[str, Cell]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Setting -> column -> ``mean`` and ``half_width``, which is null for a single seed."""
    return {
        setting: {
            name: {"mean": cell.mean, "half_width": None if math.isnan(cell.half_width) else cell.half_width}
            for name, cell in cells.items()
        }
        for setting, cells in rows.items()
    }


def markdown(
    rows: Mapping[str, Mapping[str, Cell]], columns: Sequence[str], scale: float = 1.0, digits: int = 2
) -> str:
    """A table of one row for each setting.

    Args:
        rows: Setting -> column -> mean with interval.
        columns: Names, in order.
        scale: Factor of all figures, 100 for percent.
        digits: Behind the point.
    """
    lines = ["| setting | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for setting, cells in rows.items():
        shown = (cells[name].show(scale, digits) if name in cells else "" for name in columns)
        lines.append(f"| {setting} | " + " | ".join(shown) + " |")
    return "\n".join(lines) + "\n"
