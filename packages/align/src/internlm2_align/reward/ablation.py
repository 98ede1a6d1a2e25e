"""One table and one plot of a sweep of reward trainings, with intervals over seeds.

Runs of a sweep differ in some overrides. Those that differ in the seed alone are repetitions of one setting: their mean
is given with a 95% interval of Student's t over seeds. It says how far another set of seeds might lie off, and nothing
of other data. Differences between settings are taken seed by seed, so that what runs of one seed share cancels out.
"""

import json
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from internlm2_core.evaluation.written import write_json, write_text

T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Two-sided 95% quantiles of Student's t for 1 to 10 degrees of freedom. Beyond that 2.2 is on the safe side."""


@dataclass(frozen=True)
class Run:
    """One training of a sweep.

    Attributes:
        setting: Its overrides without the seed.
        seed: Its seed, as typed.
        figures: Accuracy by column: ``mean``, each domain, and ``DOMAIN/SLICE``.
    """

    setting: str
    seed: str
    figures: dict[str, float]


@dataclass(frozen=True)
class Cell:
    """Mean over seeds and half the width of its 95% interval. The width is nan for a single seed."""

    mean: float
    half_width: float

    def __str__(self) -> str:
        """In percent."""
        if math.isnan(self.half_width):
            return f"{100 * self.mean:.1f}"
        return f"{100 * self.mean:.1f} ± {100 * self.half_width:.1f}"


def read_runs(jobs: Sequence[Path]) -> list[Run]:
    """The finished runs of a sweep.

    Args:
        jobs: Their folders, in the sweep's order. A sweep's folder may hold jobs of an earlier one too.

    Raises:
        ValueError: If there is none, or one has no held-out figures.
    """
    if not jobs:
        raise ValueError("No job of the sweep has finished. The same hydra.sweep.dir resumes it.")
    runs = []
    for job in jobs:
        overrides = yaml.safe_load((job / ".hydra" / "overrides.yaml").read_text(encoding="utf-8"))
        words = dict(word.split("=", 1) for word in overrides)
        seed = words.pop("seed", "1")
        setting = " ".join(f"{key}={value}" for key, value in words.items())
        runs.append(Run(setting, seed, _figures(job / "metrics.json")))
    return _without_common_words(runs)


def _figures(file: Path) -> dict[str, float]:
    held = json.loads(file.read_text(encoding="utf-8"))["heldout"]
    if held is None:
        raise ValueError(
            f"{file} has no held-out figures to compare. Give files in heldout, or a heldout_share above 0."
        )
    figures = {"mean": held["accuracy"]}
    for domain, part in held["domains"].items():
        figures[domain] = part["accuracy"]
        figures |= {f"{domain}/{name}": value["accuracy"] for name, value in part["slices"].items()}
    return figures


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


def summarise(folder: Path, jobs: Sequence[Path]) -> None:
    """Write ``ablation.json``, ``ablation.md`` and, with matplotlib, ``ablation.png`` into a sweep's folder.

    Args:
        folder: Of the sweep.
        jobs: Folders of its finished jobs.

    Raises:
        ValueError: If no run has finished, or one has no held-out figures.
    """
    runs = read_runs(jobs)
    rows, gaps = table(runs), differences(runs)
    columns = list(dict.fromkeys(column for cells in rows.values() for column in cells))
    content = {
        "schema": "internlm2/align/ablation/1",
        "seeds": sorted({run.seed for run in runs}),
        "accuracy": _as_json(rows),
        "differences": _as_json(gaps),
    }
    write_json(folder / "ablation.json", content)
    text = markdown(rows | gaps, columns)
    write_text(folder / "ablation.md", text)
    print(text)
    plot(rows, columns, folder / "ablation.png")


def _as_json(rows: dict[str, dict[str, Cell]]) -> dict[str, dict[str, dict[str, float | None]]]:
    return {
        setting: {
            name: {"mean": cell.mean, "half_width": None if math.isnan(cell.half_width) else cell.half_width}
            for name, cell in cells.items()
        }
        for setting, cells in rows.items()
    }


def markdown(rows: dict[str, dict[str, Cell]], columns: Sequence[str]) -> str:
    """Accuracy on held-out pairs in percent, one row for each setting, then differences in points.

    Args:
        rows: Setting -> column -> mean with interval.
        columns: Names, in order.
    """
    lines = ["| setting | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for setting, cells in rows.items():
        lines.append(f"| {setting} | " + " | ".join(str(cells.get(name, "")) for name in columns) + " |")
    return "\n".join(lines) + "\n"


def plot(rows: dict[str, dict[str, Cell]], columns: Sequence[str], file: Path) -> None:
    """Draw bars with intervals. Nothing is drawn without matplotlib.

    Args:
        rows: Setting -> column -> mean with interval.
        columns: Names, in order.
        file: Of the picture.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print('no plot: matplotlib is not installed (pip install "internlm2-align[plots]")')
        return
    figure = Figure(figsize=(1.5 + 1.2 * len(columns), 3.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(rows)
    for number, (setting, cells) in enumerate(rows.items()):
        places = [place + number * width for place in range(len(columns))]
        means = [100 * cells[name].mean if name in cells else math.nan for name in columns]
        widths = [100 * cells[name].half_width if name in cells else math.nan for name in columns]
        axes.bar(places, means, width, yerr=widths, capsize=2, label=setting)
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(columns))], columns, rotation=30, ha="right")
    axes.set_ylabel("held-out accuracy, %")
    axes.set_ylim(0, 105)
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=150)
