"""The job `internlm2 scaling`: predicted MFU over the number of GPUs, a line for each row length.

Published runs on the same GPUs are shown beside it where they have the same number of GPUs and row length, and nothing
of other hardware.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from internlm2_parallel.layout import describe
from internlm2_parallel.search.machine import Machine, machine_called
from internlm2_parallel.search.plans import PlannedShape, Workload
from internlm2_parallel.search.published import PUBLISHED
from internlm2_parallel.search.ranking import ranked

REPORTED = {("A100", 8, 4096): 0.64, ("A100", 1024, 4096): 0.53}
"""MFU of the report's 7B runs by (GPU, number, row length), batches of 4M tokens (report section 2.1). The report does
not say how it counts. InternEvo's own function is taken to be the count."""


@dataclass(frozen=True)
class Point:
    """The best plan for one cluster and row length.

    Attributes:
        gpus: Ranks.
        seq: Tokens of a row.
        mfu: Predicted, causal attention counted as half, or None where nothing fits.
        mfu_internevo: The same as InternEvo counts.
        layout: In words, or why nothing fits.
        published: Runs of others on the same GPUs: source and MFU as InternEvo counts.
    """

    gpus: int
    seq: int
    mfu: float | None
    mfu_internevo: float | None
    layout: str
    published: tuple[tuple[str, float], ...] = ()


def scaling(
    shape: PlannedShape,
    gpus: Sequence[int],
    seq: Sequence[int],
    batch_tokens: int,
    hardware: str,
    output: str,
    network_gbit_s: float | None = None,
) -> list[Point]:
    """Write ``OUTPUT/scaling.json`` and, with matplotlib, ``OUTPUT/scaling.png``, and print a table.

    Args:
        shape: Sizes of the model.
        gpus: Numbers of GPUs.
        seq: Row lengths in tokens.
        batch_tokens: Tokens of a global batch.
        hardware: Name of a machine.
        output: Folder.
        network_gbit_s: Line rate of a node's network in Gb/s. None takes that of the hardware.

    Raises:
        ValueError: If the hardware is unknown.
    """
    machine = machine_called(hardware).with_network(network_gbit_s)
    points = [best(Workload(shape, tokens, batch_tokens), count, machine) for tokens in seq for count in gpus]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "scaling.json").write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
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
    beside = published(machine.chip, gpus, work.tokens)
    try:
        plan, _, time = ranked(work, gpus, machine)[0]
    except ValueError as error:
        return Point(gpus, work.tokens, None, None, str(error), beside)
    counts = round(time.mfu, 4), round(time.mfu_internevo, 4)
    return Point(gpus, work.tokens, *counts, describe(plan.layout), beside)


def published(chip: str, gpus: int, tokens: int) -> tuple[tuple[str, float], ...]:
    """Runs of others by source, with their MFU as InternEvo counts.

    Args:
        chip: The GPU.
        gpus: Number of GPUs.
        tokens: Tokens of a row.
    """
    reported = REPORTED.get((chip, gpus, tokens))
    found = [] if reported is None else [("InternLM2 report, 7B", reported)]
    for run in PUBLISHED:
        if (run.machine.chip, run.layout.ranks, run.tokens) == (chip, gpus, tokens) and "one GPU" not in run.source:
            found.append((f"{run.source.split(',')[0]}, {run.run}", round(run.mfu_internevo, 4)))
    return tuple(found)


def as_table(points: Sequence[Point], title: str) -> Table:
    """Points for the terminal.

    Args:
        points: One for each number of GPUs and row length.
        title: Line above the table.
    """
    names = ("tokens a row", "GPUs", "MFU", "MFU, InternEvo's count", "published, InternEvo's count", "best layout")
    table = Table(*names, title=title)
    for point in points:
        shown = ["" if share is None else f"{share:.0%}" for share in (point.mfu, point.mfu_internevo)]
        beside = "\n".join(f"{share:.0%} ({source})" for source, share in point.published)
        table.add_row(f"{point.seq:,}", f"{point.gpus:,}", *shown, beside, point.layout)
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
        line = [(point.gpus, 100 * point.mfu_internevo) for point in points if point.seq == seq and point.mfu_internevo]
        if line:
            axes.plot(*zip(*line, strict=True), marker="o", label=f"{seq:,} tokens, predicted")
    shown = [(point.gpus, 100 * share) for point in points for _, share in point.published]
    if shown:
        axes.plot(*zip(*shown, strict=True), "k*", markersize=11, linestyle="none", label="published on the same GPUs")
    axes.set_xscale("log", base=2)
    axes.set_ylim(0, 100)
    axes.set_xlabel("GPUs")
    axes.set_ylabel("MFU as InternEvo counts, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=150)
