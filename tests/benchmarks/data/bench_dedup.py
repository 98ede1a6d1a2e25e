"""Near-duplicates: this package against peers on a planted corpus, one core.

    python planted.py CORPUS; python bench_dedup.py CORPUS [--tools ours stage daft rensa datasketch] [--json RESULTS]

Every tool runs in a process of its own, pinned to one core, from texts in memory to pairs of duplicates ("stage"
reads and writes shards instead, as `internlm2 process` does). MB/s is text over CPU time. Recall and precision are
against the exact Jaccard index of 5-grams, worked out by plain Python for all pairs of a family; other pairs share
next to nothing. Peers that are not installed are passed over.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np

THRESHOLD, NGRAM, PERMUTATIONS = 0.7, 5, 128
TOKEN = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")
Pair = tuple[int, int]


def load(corpus: Path) -> list[dict[str, Any]]:
    """All records, shard after shard."""
    return [json.loads(line) for path in sorted(corpus.glob("*.jsonl")) for line in path.open(encoding="utf-8")]


def exact_pairs(records: list[dict[str, Any]]) -> set[Pair]:
    """Pairs of a family with a Jaccard index of at least 0.7."""
    families: dict[int, list[int]] = {}
    for place, record in enumerate(records):
        if record["meta"]["family"] >= 0:
            families.setdefault(record["meta"]["family"], []).append(place)
    found = set()
    for members in families.values():
        grams = {}
        for place in members:
            words = TOKEN.findall(records[place]["text"].lower())
            grams[place] = {tuple(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))}
        for a, b in combinations(members, 2):
            if len(grams[a] & grams[b]) >= THRESHOLD * len(grams[a] | grams[b]):
                found.add((a, b))
    return found


def ours(texts: list[str]) -> set[Pair]:
    """This package, from texts to verified pairs."""
    from internlm2_data.compiled.minhash import jaccard
    from internlm2_data.dedup import DedupSettings
    from internlm2_data.dedup.candidates import candidate_pairs
    from internlm2_data.dedup.signing import shingle_set, sign

    settings = DedupSettings()
    signed = [sign(texts[i : i + 512], [False] * len(texts[i : i + 512]), settings) for i in range(0, len(texts), 512)]
    pairs = candidate_pairs(
        np.concatenate([s.minima for s in signed]), np.concatenate([s.sizes for s in signed]), settings
    )
    sets = {row: shingle_set(texts[row], False, NGRAM) for row in np.unique(pairs).tolist()}
    return {(a, b) for a, b in pairs.tolist() if jaccard(sets[a], sets[b]) >= THRESHOLD}


def banded(signatures: np.ndarray, bands: int = 16, rows: int = 8) -> set[Pair]:
    """Pairs that share a band: what tools without a clustering of their own are completed with."""
    found: set[Pair] = set()
    for band in range(bands):
        keys = np.ascontiguousarray(signatures[:, band * rows : (band + 1) * rows])
        packed = keys.view(np.dtype((np.void, keys.dtype.itemsize * rows))).ravel()
        _, inverse = np.unique(packed, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        edges = np.flatnonzero(np.r_[True, np.diff(inverse[order]) != 0, True])
        for start, stop in pairwise(edges):
            if 1 < stop - start < 1000:
                found.update(combinations(sorted(order[start:stop].tolist()), 2))
    return found


def daft(texts: list[str]) -> set[Pair]:
    """Daft's minhash expression, bands in NumPy."""
    import daft as library

    library.set_runner_native()
    frame = library.from_pydict({"text": texts})
    column = library.col("text").minhash(num_hashes=PERMUTATIONS, ngram_size=NGRAM, seed=1, hash_function="xxhash3_64")
    signatures = np.array(frame.select(column).to_pydict()["text"], np.uint32)
    return banded(signatures)


def rensa(texts: list[str]) -> set[Pair]:
    """rensa's R-MinHash, bands in NumPy."""
    import rensa as library

    signatures = []
    for text in texts:
        words = TOKEN.findall(text.lower())
        sketch = library.RMinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update([" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))])
        signatures.append(sketch.digest())
    return banded(np.array(signatures, np.uint64))


def datasketch(texts: list[str]) -> set[Pair]:
    """datasketch, bands in NumPy."""
    import datasketch as library

    signatures = []
    for text in texts:
        words = TOKEN.findall(text.lower())
        sketch = library.MinHash(num_perm=PERMUTATIONS, seed=1)
        sketch.update_batch([" ".join(words[i : i + NGRAM]).encode() for i in range(max(1, len(words) - NGRAM + 1))])
        signatures.append(sketch.hashvalues)
    return banded(np.array(signatures, np.uint64))


def stage(corpus: Path, folder: Path) -> None:
    """The stage over shards: reading, signing, comparing, writing."""
    from internlm2_data.dedup import Dedup
    from internlm2_data.executor import LocalExecutor
    from internlm2_data.stages.run import StageRun, input_shards

    run = StageRun(folder, LocalExecutor(0))
    Dedup().run(run, input_shards(sorted(corpus.glob("*.jsonl")), shard_bytes=1))


def removals(corpus: Path, folder: Path) -> set[Pair]:
    """What the stage has removed, each before the document that was kept for it. It is not part of the time."""
    from internlm2_data.io import ShardReader

    rows = {record["url"]: place for place, record in enumerate(load(corpus))}
    by_id, gone = {}, []
    for path in sorted(folder.rglob("*.zst")):
        for document in ShardReader(path):
            by_id[document.id] = rows[document.url]
            if document.trail:
                gone.append((rows[document.url], document.trail[-1]["kept"]))
    return {(removed, by_id[kept]) for removed, kept in gone}


def measure(tool: str, corpus: Path) -> dict[str, Any]:
    """Run one tool in this process."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    texts = [] if tool == "stage" else [record["text"] for record in load(corpus)]
    if tool == "ours":
        ours(texts[:100])  # compiled once, cached on disk
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory() as folder:
        began, wall = time.process_time(), time.time()
        pairs = stage(corpus, Path(folder)) if tool == "stage" else globals()[tool](texts)
        seconds, wall = time.process_time() - began, time.time() - wall
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        pairs = removals(corpus, Path(folder)) if tool == "stage" else pairs
    return {
        "seconds": seconds,
        "wall": wall,
        "peak_mb": peak / 1024,
        "own_mb": (peak - base) / 1024 if tool != "stage" else None,
        "pairs": sorted(pairs),
    }


def main() -> None:
    """Run the tools one after the other and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--tools", nargs="+", default=["ours", "stage", "daft", "rensa", "datasketch"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(given.one, given.corpus)))
        return
    records = load(given.corpus)
    truth = exact_pairs(records)
    megabytes = sum(len(record["text"].encode()) for record in records) / 1e6
    print(
        f"{len(records)} documents, {megabytes:.1f} MB, {len(truth)} pairs with a Jaccard index of at least {THRESHOLD}"
    )
    print(f"{'tool':<12} {'MB/s':>7} {'CPU s':>7} {'peak MB':>8} {'recall':>7} {'precision':>9}")
    results = {}
    for tool in given.tools:
        command = [sys.executable, __file__, str(given.corpus), "--one", tool]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        if done.returncode:
            print(f"{tool:<12} not run: {done.stderr.strip().splitlines()[-1]}")
            continue
        found = json.loads(done.stdout.strip().splitlines()[-1])
        pairs = {tuple(pair) for pair in found.pop("pairs")}
        if tool == "stage":  # removals: no near pair may be left whole, and each must be near what was kept for it
            gone = {removed for removed, _ in pairs}
            resolved = sum(a in gone or b in gone for a, b in truth)
            right = sum((min(pair), max(pair)) in truth for pair in pairs)
            found |= {"recall": resolved / len(truth), "precision": right / max(1, len(pairs))}
        else:
            found |= {"recall": len(pairs & truth) / len(truth), "precision": len(pairs & truth) / max(1, len(pairs))}
        found["mb_per_s"] = megabytes / found["seconds"]
        results[tool] = found
        print(
            f"{tool:<12} {found['mb_per_s']:7.1f} {found['seconds']:7.1f} {found['peak_mb']:8.0f} "
            f"{found['recall']:7.4f} {found['precision']:9.4f}",
            flush=True,
        )
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
