"""Which pairs share a band."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled import minhash
from internlm2_data.dedup.settings import DedupSettings

# In a bucket of up to this many documents all pairs are compared, in a larger one each with its neighbours and the
# first, for a bucket of n equal pages would cost n^2 comparisons and say nothing new.
MAX_ALL_PAIRS = 24
NEIGHBOURS = 4
# Standard deviation of the estimate at 0.7 is 0.04: what is further below than this is not worth an exact comparison.
MARGIN = 0.2

Pairs = npt.NDArray[np.int64]


def candidate_pairs(
    minima: npt.NDArray[np.uint32],
    sizes: npt.NDArray[np.int32],
    settings: DedupSettings,
    rows: npt.NDArray[np.int64] | None = None,
) -> Pairs:
    """Pairs of rows to compare exactly, int64 [pairs, 2], in order, each once, the smaller row first.

    One band at a time, so that memory is that of the signatures plus a few numbers a document.

    Args:
        minima: Uint32 [documents, 128].
        sizes: Number of shingles. Documents without one are in no pair.
        settings: Bands and threshold.
        rows: Only these. Of a large bucket all are compared with the one that comes first here. None for all, in order.
    """
    rows = np.flatnonzero(sizes > 0) if rows is None else rows[sizes[rows] > 0]
    count = np.uint64(max(len(sizes), 1))
    found = np.empty(0, np.uint64)
    for band in range(settings.bands):
        pairs = _in_buckets(_band_keys(minima, rows, band, settings.rows), rows)
        found = np.union1d(found, pairs[:, 0].astype(np.uint64) * count + pairs[:, 1].astype(np.uint64))
    left, right = (part.astype(np.int64) for part in np.divmod(found, count))
    estimate = np.empty(left.size, np.float64)
    minhash.agreement(minima, left, right, estimate)
    worth = (estimate >= settings.threshold - MARGIN) & _sizes_allow(sizes, left, right, settings.threshold)
    return np.stack([left[worth], right[worth]], axis=1)


def _sizes_allow(sizes: Any, left: Any, right: Any, threshold: float) -> npt.NDArray[np.bool_]:
    """Sizes count repeated shingles too, so this is a bound only up to a factor. 2 is generous."""
    small, large = np.minimum(sizes[left], sizes[right]), np.maximum(sizes[left], sizes[right])
    return small * 2 >= threshold * large


def _band_keys(
    minima: npt.NDArray[np.uint32], rows: npt.NDArray[np.int64], band: int, width: int
) -> npt.NDArray[np.uint64]:
    keys = np.full(len(rows), band + 1, np.uint64)
    for column in range(band * width, (band + 1) * width):
        keys = (keys ^ minima[rows, column]) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(29)
    return keys


def _in_buckets(keys: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]) -> Pairs:
    order = np.argsort(keys, kind="stable")
    ranked = keys[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]]) if order.size else np.empty(0, np.int64)
    sizes = np.diff(np.r_[starts, order.size])
    several = sizes > 1
    return _offsets(rows[order], starts[several], sizes[several])


def _offsets(order: npt.NDArray[np.int64], starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> Pairs:
    """Pairs inside buckets, by distance in the bucket: vectorised over all buckets at once."""
    parts = [np.empty((0, 2), np.int64)]
    distance = 1
    while (alive := sizes > distance).any() and distance < MAX_ALL_PAIRS:
        limit = np.where(sizes <= MAX_ALL_PAIRS, MAX_ALL_PAIRS, NEIGHBOURS)
        use = alive & (distance <= limit)
        lengths = (sizes - distance)[use]
        base = np.repeat(starts[use], lengths)
        within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        parts.append(np.stack([order[base + within], order[base + within + distance]], axis=1))
        distance += 1
    large = sizes > MAX_ALL_PAIRS
    for start, size in zip(starts[large], sizes[large], strict=True):
        first = np.full(size - 1, order[start])
        parts.append(np.stack([first, order[start + 1 : start + size]], axis=1))
    pairs = np.concatenate(parts)
    return np.sort(pairs, axis=1)


def groups_of_equal(values: npt.NDArray[Any]) -> Iterator[npt.NDArray[np.int64]]:
    """Rows with equal values, groups of two or more, each in ascending order."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    edges = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1], True]) if order.size else np.empty(0, np.int64)
    for start, stop in pairwise(edges):
        if stop - start > 1:
            yield order[start:stop]
