"""Plans that fit, in the order of their time."""

import math
from dataclasses import replace

from internlm2_parallel.search.machine import Machine
from internlm2_parallel.search.memory import Memory, memory_of
from internlm2_parallel.search.plans import Plan, Workload, candidates
from internlm2_parallel.search.time import Time, time_of


def ranked(work: Workload, gpus: int, machine: Machine) -> list[tuple[Plan, Memory, Time]]:
    """Plans that fit into memory, the fastest first.

    Args:
        work: What is trained.
        gpus: Number of GPUs.
        machine: What they can do.

    Raises:
        ValueError: If no layout divides, or none fits. The message says how much memory the smallest needs.
    """
    fitting, least, done = [], math.inf, None
    for plan in candidates(work, gpus, machine):
        # Where a plan fits, the same with more recomputation is only slower.
        if (same := replace(plan, keep="all")) == done:
            continue
        memory = memory_of(plan, work)
        least = min(least, memory.total)
        if memory.total <= machine.memory_gb * 1e9:
            fitting.append((plan, memory, time_of(plan, work, machine)))
            done = same
    if least == math.inf:
        raise ValueError(
            f"gpus={gpus}, seq={work.tokens} and batch_tokens={work.batch_tokens} must divide under some layout. "
            "Powers of two do."
        )
    if not fitting:
        raise ValueError(
            f"No layout fits on gpus={gpus}: the smallest needs {least / 1e9:.0f} GB of {machine.memory_gb:.0f} GB."
        )
    return sorted(fitting, key=lambda entry: (round(entry[2].step_s, 3), simplicity(entry[0]), entry[1].total))


def simplicity(plan: Plan) -> int:
    """Ranks that share rows. Of plans that are as fast, the one that splits rows least comes first."""
    return plan.layout.tensor * plan.layout.context * plan.layout.pipeline
