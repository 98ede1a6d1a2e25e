"""The job `internlm2 plan`: list the best layouts."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from internlm2_parallel.layout import AXES, Layout, describe
from internlm2_parallel.search.machine import Machine, machine_called
from internlm2_parallel.search.memory import Memory
from internlm2_parallel.search.plans import Plan, PlannedShape, Workload
from internlm2_parallel.search.ranking import ranked
from internlm2_parallel.search.time import Time

RECOMPUTE = {"matmuls": "selective", "nothing": "full"}
"""What a plan keeps of a block, in the words of LM's ``recompute``."""


def plan(
    shape: PlannedShape,
    gpus: int,
    seq: int,
    batch_tokens: int,
    hardware: str,
    output: str,
    top: int = 10,
    network_gbit_s: float | None = None,
) -> list[dict[str, object]]:
    """Print the best plans, and write them all to ``OUTPUT/plans.json``.

    Args:
        shape: Sizes of the model.
        gpus: Number of GPUs.
        seq: Length of a row in tokens.
        batch_tokens: Tokens of a global batch.
        hardware: Name of a machine.
        output: Folder.
        top: Plans that are printed.
        network_gbit_s: Line rate of a node's network in Gb/s. None takes that of the hardware.

    Returns:
        The printed plans as records.

    Raises:
        ValueError: If the hardware is unknown, or nothing divides or fits.
    """
    machine = machine_called(hardware).with_network(network_gbit_s)
    work = Workload(shape, seq, batch_tokens)
    records = [record(*entry, work, machine) for entry in ranked(work, gpus, machine)]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(records, indent=1) + "\n")
    Console().print(as_table(records[:top], f"{gpus} x {hardware}, rows of {seq}, batch of {batch_tokens} tokens"))
    return records[:top]


def record(plan: Plan, memory: Memory, time: Time, work: Workload, machine: Machine) -> dict[str, object]:
    """A plan as plain values: degrees, GB per rank, seconds, shares, and the overrides that run it.

    Args:
        plan: The plan.
        memory: What it holds.
        time: What it takes.
        work: What is trained.
        machine: Where.
    """
    layout = plan.layout
    return {
        "layout": describe(layout),
        **degrees(layout),
        "sharding": plan.sharding_name,
        "keeps": plan.keep,
        "context_attention": plan.context,
        "micro_batches": plan.micro_batches,
        "micro_rows": plan.micro_rows,
        "stages_per_rank": plan.stages_per_rank,
        "memory_gb": round(memory.total / 1e9, 2),
        "step_s": round(time.step_s, 4),
        "tokens_s": round(time.tokens_s),
        "communication_share": round(time.communication_share, 4),
        "bubble_share": round(time.bubble_s / time.step_s, 4),
        "mfu": round(time.mfu, 4),
        "mfu_internevo": round(time.mfu_internevo, 4),
        "overrides": overrides_of(plan, work, machine),
    }


def degrees(layout: Layout) -> dict[str, int]:
    """Degrees by axis."""
    return {axis: getattr(layout, axis) for axis in AXES}


def overrides_of(plan: Plan, work: Workload, machine: Machine) -> list[str]:
    """What is typed after ``internlm2 pretrain model=...`` to run a plan.

    Args:
        plan: The plan.
        work: What is trained.
        machine: Where.
    """
    layout, ranks = plan.layout, plan.layout.ranks
    devices = min(ranks, machine.node_gpus)
    # Any strategy on the mesh would do, since all that it sets is set again.
    words = ["strategy=fsdp", f"trainer.devices={devices}", f"trainer.num_nodes={ranks // devices}"]
    words += [f"phase.context={work.tokens}", f"phase.batch_rows={work.rows}"]
    words += [f"layout.{axis}={degree}" for axis, degree in degrees(layout).items()]
    words += [f"layout.sequence_parallel={str(layout.sequence_parallel).lower()}"]
    for kind in ("parameters", "gradients", "optimizer"):
        words.append(f"strategy.treatment.sharding.{kind}={getattr(plan.sharding, kind)}")
    if layout.context > 1:
        words.append(f"strategy.treatment.context={plan.context}")
    if layout.pipeline > 1:
        words.append(f"strategy.treatment.pipeline.micro_batches={plan.micro_batches}")
    else:
        words.append(f"module.micro_batch_rows={plan.micro_rows}")
    if plan.stages_per_rank > 1:
        words.append("strategy.treatment.pipeline.schedule=interleaved")
        words.append(f"strategy.treatment.pipeline.stages_per_rank={plan.stages_per_rank}")
    # What the prices take for granted: bf16 while a step computes.
    has_copies = layout.data_parallel_size * layout.context > 1
    words.append("strategy.treatment.param_dtype=bfloat16" if has_copies else "trainer.precision=bf16-mixed")
    if plan.keep != "all":
        words.append(f"module.recompute={RECOMPUTE[plan.keep]}")
    return words


COLUMNS = {
    "layout": "layout",
    "sharding": "sharding",
    "keeps": "keeps",
    "micro_batches": "micro batches",
    "micro_rows": "micro rows",
    "memory_gb": "memory GB",
    "step_s": "step s",
    "tokens_s": "tokens/s/GPU",
    "communication_share": "communication share",
    "mfu": "MFU",
    "mfu_internevo": "MFU, InternEvo's count",
}


def as_table(records: list[dict[str, object]], title: str) -> Table:
    """Plans for the terminal.

    Args:
        records: As `record` gives them.
        title: Line above the table.
    """
    table = Table(title=title)
    for column in COLUMNS.values():
        table.add_column(column)
    for entry in records:
        table.add_row(*(str(entry[column]) for column in COLUMNS))
    return table
