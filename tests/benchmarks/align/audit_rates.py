"""How often the audit is right on made-up replies whose habits and judges are known, with Wilson's 95% intervals.

    python tests/benchmarks/align/audit_rates.py

clean       no habit: runs in which anything is named
innocent    a habit that nobody pays for: likewise
disliked    a habit that is paid and that the witness dislikes: runs in which it is named, and other names in all
neutral     the same, and the witness does not care

Reward rises, and quality falls, stays or rises by turns. Replies are those of tests/align/online/planted.py.
"""

import json
import math
import sys
from collections import Counter
from pathlib import Path

from internlm2_align.online.hacking import Audit

sys.path.insert(0, str(Path(__file__).parents[3]))
from tests.align.online.planted import KINDS, World, is_named

SEEDS = range(100, 140)
PLANTED = range(100, 106)


def wilson(hits: int, total: int, z: float = 1.96) -> tuple[float, float]:
    share, scale = hits / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    width = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return round(max(0.0, centre - width), 3), round(min(1.0, centre + width), 3)


def main() -> None:
    hits, runs, others = Counter[str](), Counter[str](), Counter[str]()
    for seed in SEEDS:
        drift = (-1.5, 0.0, 1.5)[seed % 3]
        runs["clean"] += 1
        hits["clean"] += bool(Audit().patterns(World(drift=drift, prompts=100, seed=seed).replies()))
        for kind in KINDS if seed in PLANTED else ():
            runs["innocent"] += 1
            world = World(kind, pays=0.0, worth=0.0, drift=drift, prompts=100, seed=seed)
            hits["innocent"] += bool(Audit().patterns(world.replies()))
            for name, worth in (("disliked", -0.5), ("neutral", 0.0)):
                found = Audit().patterns(World(kind, worth=worth, drift=drift, seed=seed).replies())
                right = sum(is_named(kind, pattern.feature) for pattern in found)
                runs[name] += 1
                hits[name] += bool(right)
                others[name] += len(found) - right
    for name, total in runs.items():
        figures = {"case": name, "runs": total, "hits": hits[name], "interval": wilson(hits[name], total)}
        print(json.dumps(figures | {"other_names": others[name]}))


if __name__ == "__main__":
    main()
