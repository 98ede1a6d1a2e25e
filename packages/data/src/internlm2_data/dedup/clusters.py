"""Which documents go: exact copies, older captures of a URL, near-duplicates of a newer document that is kept."""

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
    removals = _same(records.exact, rank, alive)
    if settings.by_url:
        removals += _older_captures(records, rank, alive)
    rows = np.flatnonzero(alive)
    # The newest first, so that every document of a large bucket is compared with the newest.
    pairs = candidate_pairs(records.minima, records.sizes, settings, rows[np.argsort(rank[rows])])
    removals += _near(pairs, rank, settings.threshold, shingles_of(np.unique(pairs)))
    return sorted(removals)


def ranks(records: ShardRecords) -> Rows:
    """Rank of each row among all, 0 for the newest. Of equally new ones the first comes first."""
    _, newness = np.unique(records.newness, return_inverse=True)
    order = np.lexsort((np.arange(len(newness)), -newness))
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    return rank


def _same(values: npt.NDArray[Any], rank: Rows, alive: npt.NDArray[np.bool_]) -> list[Removal]:
    """Removals among rows of equal value, of which 0 means none."""
    removals = []
    rows = np.flatnonzero(alive & (values != np.uint64(0)))
    for group in groups_of_equal(values[rows]):
        members = rows[group]
        keeper = int(members[np.argmin(rank[members])])
        gone = members[members != keeper]
        alive[gone] = False
        removals += [Removal(int(row), "dedup.exact", 1.0, keeper) for row in gone]
    return removals


def _older_captures(records: ShardRecords, rank: Rows, alive: npt.NDArray[np.bool_]) -> list[Removal]:
    """Removals of all but the newest capture of each URL. Documents of one capture, such as passages, stay together."""
    removals = []
    rows = np.flatnonzero(alive & (records.url != np.uint64(0)))
    for group in groups_of_equal(records.url[rows]):
        members = rows[group]
        keeper = int(members[np.argmin(rank[members])])
        gone = members[records.newness[members] != records.newness[keeper]]
        alive[gone] = False
        removals += [Removal(int(row), "dedup.url", 1.0, keeper) for row in gone]
    return removals


def _near(pairs: Pairs, rank: Rows, threshold: float, shingles: Shingles) -> list[Removal]:
    """Removals of documents that are near one that is kept, from the newest to the oldest.

    A document that is near a removed one is compared with what was kept in its place, for their own bands may not
    have met. If those two differ, it stays: no chain of small changes ends in the loss of another text.
    """
    newer_first = np.where((rank[pairs[:, 0]] < rank[pairs[:, 1]])[:, None], pairs, pairs[:, ::-1])
    order = np.lexsort((rank[newer_first[:, 0]], rank[newer_first[:, 1]]))
    kept_for: dict[int, int] = {}
    compared: set[int] = set()
    removals: list[Removal] = []
    last = -1
    for newer, row in newer_first[order].tolist():
        if row != last:
            last, compared = row, set()
        keeper = kept_for.get(newer, newer)
        if row in kept_for or keeper in compared:
            continue
        compared.add(keeper)
        similarity = float(minhash.jaccard(shingles(row), shingles(keeper)))
        if similarity >= threshold:
            kept_for[row] = keeper
            removals.append(Removal(row, "dedup.near", round(similarity, 4), keeper))
    return removals
