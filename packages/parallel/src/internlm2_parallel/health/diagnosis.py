"""Why a run ended, read from its logs: a few known causes, and what to do about each."""

import re
from dataclasses import dataclass

from internlm2_parallel.health.preemption import TRY_AGAIN
from internlm2_parallel.health.watch import HUNG


@dataclass(frozen=True)
class Cause:
    """A known cause.

    Attributes:
        name: short.
        advice: what to do, as one sentence.
        is_worth_a_restart: whether running the same again may succeed.
        line: the line of the log that showed it.
    """

    name: str
    advice: str
    is_worth_a_restart: bool
    line: str


# The first that matches wins: what is closest to the root of the trouble comes first.
KNOWN: tuple[tuple[str, str, str, bool], ...] = (
    (
        "preempted",
        rf"stopped after step \d+ .*state saved|exitcode *: {TRY_AGAIN}\b",
        "Start it again; it continues.",
        True,
    ),
    (
        "out of GPU memory",
        r"CUDA out of memory|torch\.OutOfMemoryError",
        "Ask `internlm2 plan` for a layout, or set strategy.treatment.recompute.",
        False,
    ),
    (
        "out of host memory",
        r"oom-kill|Out Of Memory|MemoryError|DefaultCPUAllocator: can't allocate",
        "Give the node more memory or lower num_workers.",
        False,
    ),
    (
        "disk full",
        r"No space left on device|Disk quota exceeded",
        "Free space below output; drafts of checkpoints may go.",
        False,
    ),
    (
        "broken GPU",
        r"Xid|uncorrectable ECC|CUDA error: (device-side|unspecified|an illegal)",
        "Leave the node out (hydra.launcher.exclude) and start again.",
        True,
    ),
    (
        "node failed",
        r"NODE_FAIL|DUE TO NODE FAILURE|slurmstepd: .*NODE",
        "Start again; leave the node out if it happens twice.",
        True,
    ),
    (
        "hang",
        rf"has not moved for \d+ s|exitcode *: {HUNG}\b|Watchdog caught collective operation timeout",
        "See which rank the message names; start again.",
        True,
    ),
    (
        "loss is not finite",
        r"loss (is|=) ?(nan|inf)|found NaN or Inf",
        "Go on from an earlier checkpoint with a lower learning rate.",
        False,
    ),
    ("bad layout", r"layout .* does not f(it|ill)", "Set the degrees as the message says.", False),
    (
        "connection lost",
        r"Connection (closed by peer|reset by peer|refused)|NCCL error|ProcessGroup.* failed",
        "Another rank went first: read its log.",
        True,
    ),
)


def diagnose(log: str) -> Cause | None:
    """The cause that a log shows; None where it shows none of the known.

    Args:
        log: text of all ranks' logs.
    """
    for name, pattern, advice, is_worth_a_restart in KNOWN:
        match = re.search(pattern, log, re.IGNORECASE)
        if match:
            start = log.rfind("\n", 0, match.start()) + 1
            end = log.find("\n", match.end())
            return Cause(name, advice, is_worth_a_restart, log[start : end if end >= 0 else None])
    return None
