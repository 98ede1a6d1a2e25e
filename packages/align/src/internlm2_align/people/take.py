"""Judgements that were made elsewhere, taken into a queue."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from internlm2_align.people.queue import Queue
from internlm2_align.people.votes import Said


def said_record(said: Said) -> dict[str, Any]:
    """The JSON form of a judgement, which `import_judgements` reads."""
    return {**asdict(said.judgement), **{k: v for k, v in asdict(said).items() if k != "judgement"}}


def take(queue: Queue, found: Iterable[Said]) -> dict[str, int]:
    """Take what was said elsewhere into a queue, as for `import_judgements`.

    Args:
        queue: It knows the comparisons.
        found: What was said.
    """
    counts = Counter({"judgements": 0, "known": 0, "undone": 0, "unknown": 0})
    comparisons = queue.comparisons()
    known = {(said.judgement, said.role) for said in queue.judgements()}
    for said in found:
        if said.judgement.comparison not in comparisons:
            counts["unknown"] += 1
        elif (said.judgement, said.role) in known:
            counts["known"] += 1
        elif said.undone:
            counts["undone"] += 1
        else:
            counts["judgements"] += 1
            queue.judge(said.judgement, said.role, said.first_is_left, said.seconds)
            known.add((said.judgement, said.role))
    return dict(counts)
