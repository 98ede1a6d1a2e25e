"""Plan search: which layout trains a model fastest on a cluster, before a single GPU is booked (report section 2.1).

    Workload (model, row length, batch) ─┐
    Machine  (peak, memory, links)      ─┼─► layouts that divide ─► memory per rank ─► those that fit ─► time
                                         │

The model is analytic: it counts bytes and operations, and turns them into seconds by a few constants of the machine,
each with its source. `internlm2_parallel.search.judging` grades it by published runs.
"""

from internlm2_parallel.search.job import plan
from internlm2_parallel.search.machine import MACHINES, Machine, machine_called
from internlm2_parallel.search.memory import Memory, memory_of
from internlm2_parallel.search.plans import Plan, Workload, candidates
from internlm2_parallel.search.ranking import ranked
from internlm2_parallel.search.scaling import scaling
from internlm2_parallel.search.time import Time, time_of

__all__ = [
    "MACHINES",
    "Machine",
    "Memory",
    "Plan",
    "Time",
    "Workload",
    "candidates",
    "machine_called",
    "memory_of",
    "plan",
    "ranked",
    "scaling",
    "time_of",
]
