"""Plans that fit, in the order of their time."""

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
    priced = [(plan, memory_of(plan, work)) for plan in candidates(work, gpus, machine)]
    if not priced:
        raise ValueError(
            f"gpus={gpus}, seq={work.tokens} and batch_tokens={work.batch_tokens} must divide under some layout. "
            "Powers of two do."
        )
    fitting = [(plan, memory) for plan, memory in priced if memory.total <= machine.memory_gb * 1e9]
    if not fitting:
        least = min(memory.total for _, memory in priced) / 1e9
        raise ValueError(
            f"No layout fits on gpus={gpus}: the smallest needs {least:.0f} GB of {machine.memory_gb:.0f} GB."
        )
    timed = [(plan, memory, time_of(plan, work, machine)) for plan, memory in fitting]
    return sorted(timed, key=lambda entry: (round(entry[2].step_s, 3), simplicity(entry[0]), entry[1].total))


def simplicity(plan: Plan) -> int:
    """Ranks that share rows. Of plans that are as fast, the one that splits rows least comes first."""
    return plan.layout.tensor * plan.layout.context * plan.layout.pipeline
