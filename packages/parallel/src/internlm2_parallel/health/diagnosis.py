"""Why a run ended, read from its logs: a few known causes, and what to do about each."""

import re
from dataclasses import dataclass

from internlm2_parallel.health.watch import HUNG
from internlm2_parallel.together import TRY_AGAIN


@dataclass(frozen=True)
class Cause:
    """A known cause.

    Attributes:
        name: Short.
        advice: What to do, as one sentence.
        is_worth_a_restart: Whether running the same again may succeed.
        line: The line of the log that showed it.
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
        "Start it again. It continues.",
        True,
    ),
    (
        "out of GPU memory",
        r"CUDA out of memory|torch\.OutOfMemoryError",
        "Ask `internlm2 plan` for a layout, or recompute blocks (module.recompute).",
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
        "Free space below output. Drafts of checkpoints may be removed.",
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
        "Start again. Leave the node out if it happens twice.",
        True,
    ),
    (
        "hang",
        rf"has not moved for \d+ s|exitcode *: {HUNG}\b|Watchdog caught collective operation timeout",
        "See which rank the message names, and start again.",
        True,
    ),
    (
        "loss is not finite",
        r"loss (is|=) ?(nan|inf)|found NaN or Inf|(steps in a row were|is not written, since .* is) not finite",
        "Resume from an earlier checkpoint with a lower learning rate.",
        False,
    ),
    ("bad layout", r"layout .* does not f(it|ill)", "Set the degrees as the message says.", False),
    (
        "nodes do not meet",
        r"waitForInput: .* timed out|has not met .* in the store of torchrun",
        "Set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on each node before torchrun, and start again.",
        False,
    ),
    (
        "connection lost",
        r"Connection (closed by peer|reset by peer|refused)|NCCL error|ProcessGroup.* failed",
        "Another rank ended first: read its log.",
        True,
    ),
)


def diagnose(log: str) -> Cause | None:
    """The cause that a log shows. None where it shows no known one.

    Args:
        log: Text of all ranks' logs.
    """
    for name, pattern, advice, is_worth_a_restart in KNOWN:
        match = re.search(pattern, log, re.IGNORECASE)
        if match:
            start = log.rfind("\n", 0, match.start()) + 1
            end = log.find("\n", match.end())
            return Cause(name, advice, is_worth_a_restart, log[start : end if end >= 0 else None])
    return None
