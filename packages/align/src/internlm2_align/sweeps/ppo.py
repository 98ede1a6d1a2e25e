"""One table and one plot of a sweep of PPO runs: held-out figures at the end, and their course."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.written import write_json, write_text

from internlm2_align.sweeps.table import Cell, as_json, columns_of, differences, markdown, read_runs, table

LAST = ("valid/reward", "valid/judge", "valid/kl", "valid/length")
"""Figures of the last validation that the table has."""

COURSE = ("valid/reward", "valid/judge", "valid/kl", "train/explained_variance")
"""Figures whose course is drawn, where a run has them."""


def figures(job: Path) -> dict[str, float]:
    """Figures of a run's last validation, by domain too, and how much reward and judge have gained since the first.

    Args:
        job: Folder of the run.
    """
    metrics = json.loads((job / "metrics.json").read_text(encoding="utf-8"))
    start, last = metrics["start"], metrics["last"]
    found = {name: last[name] for name in LAST if last.get(name) is not None}
    found |= {f"{name} gained": last[name] - start[name] for name in LAST[:2] if name in found}
    return found | {name: value for name, value in last.items() if name.startswith(("valid/reward/", "valid/judge/"))}


def course(job: Path) -> dict[str, float]:
    """The figures of `COURSE` at each iteration, as ``NAME@ITERATION``.

    Args:
        job: Folder of the run.
    """
    history = json.loads((job / "metrics.json").read_text(encoding="utf-8"))["history"]
    return {
        f"{name}@{entry['iteration']}": entry[name]
        for entry in history
        for name in COURSE
        if entry.get(name) is not None
    }


def summarise(folder: Path, jobs: Sequence[Path]) -> None:
    """Write ``ablation.json``, ``ablation.md`` and, with matplotlib, ``ablation.png`` into a sweep's folder.

    Args:
        folder: Of the sweep.
        jobs: Folders of its finished jobs.

    Raises:
        ValueError: If no run has finished.
    """
    runs = read_runs(jobs, figures)
    rows, gaps, lines = table(runs), differences(runs), table(read_runs(jobs, course))
    content = {
        "schema": "internlm2/align/ppo-ablation/1",
        "seeds": sorted({run.seed for run in runs}),
        "last": as_json(rows),
        "differences": as_json(gaps),
        "course": as_json(lines),
    }
    write_json(folder / "ablation.json", content)
    text = markdown(rows | gaps, columns_of(rows), digits=3)
    write_text(folder / "ablation.md", text)
    print(text)
    plot(lines, folder / "ablation.png")


def plot(
    lines: Mapping[str, Mapping[str, Cell]], file: Path, course: Sequence[str] = COURSE, at: str = "iteration"
) -> None:
    """Draw the course of each figure, a line for each setting and a band for its interval over seeds.

    Nothing is drawn without matplotlib.

    Args:
        lines: Setting -> ``NAME@NUMBER`` -> mean with interval.
        file: Of the picture.
        course: Names, in order. Those that no setting has are left out.
        at: What the number counts.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print('no plot: matplotlib is not installed (pip install "internlm2-align[plots]")')
        return
    known = {column.split("@")[0] for cells in lines.values() for column in cells}
    names = [name for name in course if name in known]
    picture = Figure(figsize=(4.2 * len(names), 3.4), layout="constrained")
    for axes, name in zip(picture.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for setting, cells in lines.items():
            named = {column.split("@")[1]: cell for column, cell in cells.items() if column.split("@")[0] == name}
            _line(axes, setting, {int(number): cell for number, cell in named.items()})
        axes.set_title(name, fontsize="medium")
        axes.set_xlabel(at)
        axes.xaxis.get_major_locator().set_params(integer=True)
    picture.axes[0].legend(fontsize="small")
    picture.savefig(file, dpi=150)


def _line(axes: Any, setting: str, cells: Mapping[int, Cell]) -> None:
    places = sorted(cells)
    means, widths = [cells[at].mean for at in places], [cells[at].half_width for at in places]
    axes.plot(places, means, label=setting)
    axes.fill_between(
        places,
        [mean - width for mean, width in zip(means, widths, strict=True)],
        [mean + width for mean, width in zip(means, widths, strict=True)],
        alpha=0.2,
    )
