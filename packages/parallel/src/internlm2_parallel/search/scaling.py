"""The job `internlm2 scaling`: predicted MFU over the number of GPUs, a line for each row length.

The report's own figures (section 2.1) are shown beside it where it has the same points.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from internlm2_parallel.layout import describe
from internlm2_parallel.search.machine import Machine, machine_called
from internlm2_parallel.search.plans import PlannedShape, Workload
from internlm2_parallel.search.ranking import ranked

PUBLISHED = {(8, 4096): 0.64, (1024, 4096): 0.53}
"""MFU of InternEvo's 7B runs on A100 by (GPUs, row length), batches of 4M tokens (report section 2.1)."""


@dataclass(frozen=True)
class Point:
    """The best plan for one cluster and row length.

    Attributes:
        gpus: Ranks.
        seq: Tokens of a row.
        mfu: Predicted, or None where nothing fits.
        layout: In words, or why nothing fits.
    """

    gpus: int
    seq: int
    mfu: float | None
    layout: str


def scaling(
    shape: PlannedShape, gpus: Sequence[int], seq: Sequence[int], batch_tokens: int, hardware: str, output: str
) -> list[Point]:
    """Write ``OUTPUT/scaling.json`` and, with matplotlib, ``OUTPUT/scaling.png``, and print a table.

    Args:
        shape: Sizes of the model.
        gpus: Numbers of GPUs.
        seq: Row lengths in tokens.
        batch_tokens: Tokens of a global batch.
        hardware: Name of a machine.
        output: Folder.

    Raises:
        ValueError: If the hardware is unknown.
    """
    machine = machine_called(hardware)
    points = [best(Workload(shape, tokens, batch_tokens), count, machine) for tokens in seq for count in gpus]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scaling.json").write_text(json.dumps([vars(point) for point in points], indent=1) + "\n")
    Console().print(as_table(points, f"Best plans on {hardware}, batches of {batch_tokens:,} tokens"))
    plot(points, folder / "scaling.png")
    return points


def best(work: Workload, gpus: int, machine: Machine) -> Point:
    """The fastest plan that fits.

    Args:
        work: What is trained.
        gpus: Number of GPUs.
        machine: What they can do.
    """
    try:
        plan, _, time = ranked(work, gpus, machine)[0]
    except ValueError as error:
        return Point(gpus, work.tokens, None, str(error))
    return Point(gpus, work.tokens, round(time.mfu, 4), describe(plan.layout))


def as_table(points: Sequence[Point], title: str) -> Table:
    """Points for the terminal.

    Args:
        points: One for each number of GPUs and row length.
        title: Line above the table.
    """
    table = Table("tokens a row", "GPUs", "predicted MFU", "published", "best layout", title=title)
    for point in points:
        published = PUBLISHED.get((point.gpus, point.seq))
        shown = ["" if share is None else f"{share:.0%}" for share in (point.mfu, published)]
        table.add_row(f"{point.seq:,}", f"{point.gpus:,}", *shown, point.layout)
    return table


def plot(points: Sequence[Point], file: Path) -> None:
    """A line for each row length. Nothing is drawn without matplotlib.

    Args:
        points: One for each number of GPUs and row length.
        file: Where the figure is saved.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print('No figure: matplotlib is not installed (pip install "internlm2-parallel[plots]").')
        return
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for seq in dict.fromkeys(point.seq for point in points):
        line = [(point.gpus, 100 * point.mfu) for point in points if point.seq == seq and point.mfu is not None]
        if line:
            axes.plot(*zip(*line, strict=True), marker="o", label=f"{seq:,} tokens, predicted")
    shown = [(gpus, 100 * mfu) for (gpus, seq), mfu in PUBLISHED.items() if any(p.seq == seq for p in points)]
    if shown:
        axes.plot(*zip(*shown, strict=True), "k*", markersize=11, label="4,096 tokens, published (7B on A100)")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 100)
    axes.set_xlabel("GPUs")
    axes.set_ylabel("MFU, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
