"""Which documents go: exact copies, older copies of a URL, near-duplicates of a newer document."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled import minhash
from internlm2_data.dedup.candidates import Pairs, candidate_pairs, groups_of_equal
from internlm2_data.dedup.records import ShardRecords
from internlm2_data.dedup.settings import DedupSettings

Rows = npt.NDArray[np.int64]
Shingles = Callable[[int], npt.NDArray[np.uint64]]


class Removal(NamedTuple):
    """A document that goes.

    Attributes:
        row: Its number among all documents.
        rule: One of ``dedup.exact``, ``dedup.url`` and ``dedup.near``.
        value: Jaccard index with the document kept (for dedup.url not computed: 1).
        keeper: The row of the document kept in its place.
    """

    row: int
    rule: str
    value: float
    keeper: int


def resolve(
    records: ShardRecords,
    settings: DedupSettings,
    shingles_of: Callable[[Rows], Shingles],
    gone: Sequence[int] = (),
) -> list[Removal]:
    """All removals, in the order of rows.

    Args:
        records: Of all shards.
        settings: The settings.
        shingles_of: Given the rows that will be compared, answers with a function row -> sorted shingles.
        gone: Rows that went in an earlier run and count no more.
    """
    rank = ranks(records)
    alive = np.ones(len(rank), np.bool_)
    alive[list(gone)] = False
    removals = _same(records.exact, rank, alive, "dedup.exact")
    if settings.by_url:
        removals += _same(records.url, rank, alive, "dedup.url")
    pairs = candidate_pairs(records.minima, records.sizes, settings, np.flatnonzero(alive))
    shingles = shingles_of(np.unique(pairs))
    parent = _verified_clusters(pairs, len(rank), settings.threshold, shingles)
    removals += _near(parent, rank, shingles)
    return sorted(removals)


def ranks(records: ShardRecords) -> Rows:
    """Rank of each row among all, 0 for the newest. Of equally new ones the first comes first."""
    _, newness = np.unique(records.newness, return_inverse=True)
    order = np.lexsort((np.arange(len(newness)), -newness))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _verified_clusters(pairs: Pairs, count: int, threshold: float, shingles: Shingles) -> Rows:
    """Union-find over the pairs whose exact Jaccard index reaches the threshold. Returns the root of each row.

    Pairs that are connected already are not compared.
    """
    parent = np.arange(count)
    for left, right in pairs.tolist():
        a, b = minhash.find(parent, left), minhash.find(parent, right)
        if a != b and minhash.jaccard(shingles(left), shingles(right)) >= threshold:
            parent[max(a, b)] = min(a, b)
    return np.array([minhash.find(parent, row) for row in range(count)]) if len(pairs) else parent


def _same(values: npt.NDArray[Any], rank: Rows, alive: npt.NDArray[np.bool_], rule: str) -> list[Removal]:
    """Removals among rows of equal value, of which 0 means none."""
    removals = []
    rows = np.flatnonzero(alive & (values != np.uint64(0)))
    for group in groups_of_equal(values[rows]):
        members = rows[group]
        keeper = int(members[np.argmin(rank[members])])
        gone = members[members != keeper]
        alive[gone] = False
        removals += [Removal(int(row), rule, 1.0, keeper) for row in gone]
    return removals


def _near(parent: Rows, rank: Rows, shingles: Shingles) -> list[Removal]:
    removals = []
    for members in groups_of_equal(parent):
        keeper = int(members[np.argmin(rank[members])])
        for row in members[members != keeper].tolist():
            similarity = minhash.jaccard(shingles(row), shingles(keeper))
            removals.append(Removal(row, "dedup.near", round(float(similarity), 4), keeper))
    return removals
