"""Plans that fit, in the order of their time."""

from internlm2_parallel.search.machine import Machine
from internlm2_parallel.search.memory import Memory, memory_of
from internlm2_parallel.search.plans import Plan, Workload, candidates
from internlm2_parallel.search.time import Time, time_of


def ranked(work: Workload, gpus: int, machine: Machine) -> list[tuple[Plan, Memory, Time]]:
    """Plans that fit into memory, the fastest first.

    Raises:
        ValueError: no layout divides, or none fits; the message says how much memory the smallest needs.
    """
    priced = [(plan, memory_of(plan, work)) for plan in candidates(work, gpus, machine)]
    if not priced:
        raise ValueError(
            f"{gpus} GPUs, rows of {work.tokens} and batches of {work.batch_tokens} tokens: no layout divides them; "
            "change gpus, seq or batch_tokens, e.g. to powers of two."
        )
    fitting = [(plan, memory) for plan, memory in priced if memory.total <= machine.memory_gb * 1e9]
    if not fitting:
        least = min(memory.total for _, memory in priced) / 1e9
        raise ValueError(
            f"no layout fits: the smallest needs {least:.0f} GB of {machine.memory_gb:.0f} GB; raise gpus."
        )
    timed = [(plan, memory, time_of(plan, work, machine)) for plan, memory in fitting]
    return sorted(timed, key=lambda entry: (round(entry[2].step_s, 3), simplicity(entry[0]), entry[1].total))


def simplicity(plan: Plan) -> int:
    """Ranks that share rows: of plans that are as fast, the one that splits rows least comes first."""
    return plan.layout.tensor * plan.layout.context * plan.layout.pipeline
