"""Deduplication: exact, by URL, then near-duplicates by MinHash LSH, candidates verified exactly.

    shard ─► sign: 128 minima, hashes of text and URL ─┐
    shard ─► sign                                      ├─► bands: who shares one ─► verify: exact Jaccard ─► clusters
                                                       ┘                                                      │
    shard ─► sift ◄── which rows go, why, and in favour of whom ◄── keep the newest ◄────────────────────────┘

What is unusual: a pair that shares a band is only a candidate, and is compared by its exact sets of 5-grams. So
precision does not depend on the banding, which can then be wide: 25 bands of 5 rows find 99% of pairs at a Jaccard
index of 0.7. Everything is in the order of shards and rows, so that clusters are the same for any number of workers.
"""

from internlm2_data.dedup.settings import DedupSettings
from internlm2_data.dedup.stage import Dedup

__all__ = ["Dedup", "DedupSettings"]
