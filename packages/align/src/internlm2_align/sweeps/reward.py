"""One table and one plot of a sweep of reward trainings: accuracy on held-out pairs."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from internlm2_core.evaluation.written import write_json, write_text

from internlm2_align.sweeps.table import Cell, as_json, columns_of, differences, markdown, read_runs, table


def accuracies(job: Path) -> dict[str, float]:
    """Accuracy of a run by column: ``mean``, each domain, and ``DOMAIN/SLICE``.

    Args:
        job: Folder of the run.

    Raises:
        ValueError: If it has no held-out figures.
    """
    file = job / "metrics.json"
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


def summarise(folder: Path, jobs: Sequence[Path]) -> None:
    """Write ``ablation.json``, ``ablation.md`` and, with matplotlib, ``ablation.png`` into a sweep's folder.

    Args:
        folder: Of the sweep.
        jobs: Folders of its finished jobs.

    Raises:
        ValueError: If no run has finished, or one has no held-out figures.
    """
    runs = read_runs(jobs, accuracies)
    rows, gaps = table(runs), differences(runs)
    columns = columns_of(rows)
    content = {
        "schema": "internlm2/align/ablation/1",
        "seeds": sorted({run.seed for run in runs}),
        "accuracy": as_json(rows),
        "differences": as_json(gaps),
    }
    write_json(folder / "ablation.json", content)
    text = markdown(rows | gaps, columns, scale=100, digits=1)
    write_text(folder / "ablation.md", text)
    print(text)
    plot(rows, columns, folder / "ablation.png")


def plot(rows: Mapping[str, Mapping[str, Cell]], columns: Sequence[str], file: Path) -> None:
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
