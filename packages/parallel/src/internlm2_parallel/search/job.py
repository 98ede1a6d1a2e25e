"""The job `internlm2 plan`: list the best layouts."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Table

from internlm2_parallel.layout import describe
from internlm2_parallel.search.machine import machine_called
from internlm2_parallel.search.memory import Memory
from internlm2_parallel.search.plans import Plan, PlannedShape, Workload
from internlm2_parallel.search.ranking import ranked
from internlm2_parallel.search.time import Time

RECOMPUTE = {"matmuls": "selective", "nothing": "full"}
"""What a plan keeps of a block, in the words of LM's ``recompute``."""


def plan(
    shape: PlannedShape, gpus: int, seq: int, batch_tokens: int, hardware: str, output: str, top: int = 10
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

    Returns:
        The printed plans as records.

    Raises:
        ValueError: If the hardware is unknown, or nothing divides or fits.
    """
    machine = machine_called(hardware)
    plans = ranked(Workload(shape, seq, batch_tokens), gpus, machine)
    records = [record(*entry) for entry in plans]
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(records, indent=1) + "\n")
    Console().print(as_table(records[:top], f"{gpus} x {hardware}, rows of {seq}, batch of {batch_tokens} tokens"))
    return records[:top]


def record(plan: Plan, memory: Memory, time: Time) -> dict[str, object]:
    """A plan as plain values: degrees, GB per rank, seconds, shares, and the overrides that run it.

    Args:
        plan: The plan.
        memory: What it holds.
        time: What it takes.
    """
    layout = plan.layout
    degrees = {axis: getattr(layout, axis) for axis in ("pipeline", "replicate", "shard", "context", "tensor")}
    overrides = [f"layout.{axis}={degree}" for axis, degree in degrees.items()]
    overrides += [f"layout.sequence_parallel={str(layout.sequence_parallel).lower()}"]
    for kind in ("parameters", "gradients", "optimizer"):
        overrides.append(f"strategy.treatment.sharding.{kind}={getattr(plan.sharding, kind)}")
    if layout.pipeline > 1:
        overrides.append(f"strategy.treatment.pipeline.micro_batches={plan.micro_batches}")
    else:
        overrides.append(f"module.micro_batch_rows={plan.micro_rows}")
    # What the prices take for granted: bf16 while a step computes.
    has_copies = layout.data_parallel_size * layout.context > 1
    overrides.append("strategy.treatment.param_dtype=bfloat16" if has_copies else "trainer.precision=bf16-mixed")
    if plan.keep != "all":
        overrides.append(f"module.recompute={RECOMPUTE[plan.keep]}")
    return {
        "layout": describe(layout),
        **degrees,
        "sharding": plan.sharding_name,
        "keeps": plan.keep,
        "micro_batches": plan.micro_batches,
        "micro_rows": plan.micro_rows,
        "memory_gb": round(memory.total / 1e9, 2),
        "step_s": round(time.step_s, 4),
        "communication_share": round(time.communication_share, 4),
        "bubble_share": round(time.bubble_s / time.step_s, 4),
        "mfu": round(time.mfu, 4),
        "overrides": overrides,
    }


COLUMNS = (
    "layout",
    "sharding",
    "keeps",
    "micro_batches",
    "micro_rows",
    "memory_gb",
    "step_s",
    "communication_share",
    "mfu",
)


def as_table(records: list[dict[str, object]], title: str) -> Table:
    """Plans for the terminal.

    Args:
        records: As `record` gives them.
        title: Line above the table.
    """
    table = Table(title=title)
    for column in COLUMNS:
        table.add_column(column.replace("_", " "))
    for entry in records:
        table.add_row(*(str(entry[column]) for column in COLUMNS))
    return table
