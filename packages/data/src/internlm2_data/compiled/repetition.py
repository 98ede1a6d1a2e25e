"""Repeated n-grams of a text, counted in one pass per n over a hash table."""

from typing import Any

import numba
import numpy as np

from internlm2_data.compiled.tokens import Bytes, mix, tokens

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LARGEST = 10


@numba.njit(cache=True)
def repeated(data: Bytes) -> Any:
    """Shares of characters in repeated n-grams, float64 [11] by n.

    Entries 2 to 4: in the occurrences of the most frequent n-gram, if it occurs twice. Entries 5 to 10: in n-grams that
    occurred before, overlapping ones counted once.
    """
    shares = np.zeros(LARGEST + 1)
    token, length = np.empty(data.size + 1, np.uint64), np.empty(data.size + 1, np.int32)
    count = tokens(data, 0, data.size, False, token, length)
    total = length[:count].sum()
    if count < 2 or total == 0:
        return shares
    size = 1
    while size < 2 * count:
        size *= 2
    keys, times = np.empty(size, np.uint64), np.empty(size, np.int32)
    for n in range(2, LARGEST + 1):
        # A repeated n-gram begins with a repeated (n - 1)-gram: without one there is nothing more to find.
        if n > count or (n > 5 and shares[n - 1] == 0.0):
            break
        times[:] = 0
        if n < 5:
            shares[n] = _most_frequent(token, length, count, n, keys, times) / total
        else:
            shares[n] = _occurred_before(token, length, count, n, keys, times) / total
    return shares


@numba.njit(cache=True)
def _gram(token: Any, start: int, n: int) -> Any:
    h = np.uint64(n)
    for k in range(n):
        h = (h ^ token[start + k]) * _GOLDEN
        h ^= h >> np.uint64(32)
    return mix(h)


@numba.njit(cache=True)
def _count(gram: Any, keys: Any, times: Any) -> int:
    """Count a gram in the table. Returns how often it has occurred now."""
    mask = np.uint64(keys.size - 1)
    at = gram & mask
    while times[at] and keys[at] != gram:
        at = (at + np.uint64(1)) & mask
    keys[at] = gram
    times[at] += 1
    return times[at]


@numba.njit(cache=True)
def _most_frequent(token: Any, length: Any, count: int, n: int, keys: Any, times: Any) -> int:
    """Characters in all occurrences of the most frequent gram. Of equally frequent ones the first to get there."""
    most, characters = 1, 0
    for i in range(count - n + 1):
        often = _count(_gram(token, i, n), keys, times)
        if often > most:
            most = often
            characters = often * length[i : i + n].sum()
    return characters


@numba.njit(cache=True)
def _occurred_before(token: Any, length: Any, count: int, n: int, keys: Any, times: Any) -> int:
    characters, covered = 0, 0
    for i in range(count - n + 1):
        if _count(_gram(token, i, n), keys, times) > 1:
            for k in range(max(i, covered), i + n):
                characters += length[k]
            covered = i + n
    return characters


@numba.njit(cache=True)
def different_share(data: Bytes, window: int) -> float:
    """Mean share of different tokens in windows of `window` tokens. A last window of under half of that is left out.

    Args:
        data: The text, uint8.
        window: Tokens of a window.
    """
    token = np.empty(data.size + 1, np.uint64)
    count = tokens(data, 0, data.size, False, token, np.empty(data.size + 1, np.int32))
    size = 1
    while size < 2 * min(window, count) + 2:
        size *= 2
    keys, times = np.empty(size, np.uint64), np.empty(size, np.int32)
    shares, windows = 0.0, 0
    for start in range(0, max(1, count - window // 2), window):
        stop = min(count, start + window)
        times[:] = 0
        different = 0
        for i in range(start, stop):
            different += _count(mix(token[i]), keys, times) == 1
        shares += different / max(1, stop - start)
        windows += 1
    return shares / windows
