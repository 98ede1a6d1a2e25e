"""Hashed n-grams of tokens, and linear scores over them."""

from typing import Any

import numba
import numpy as np

from internlm2_data.compiled.tokens import Bytes, mix, tokens

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
LONGEST = 3


@numba.njit(cache=True)
def _grams(data: Bytes, start: int, stop: int, dims: int, token: Any, length: Any, out: Any) -> int:
    """Feature numbers of the text data[start:stop]: its runs of one to three tokens, hashed to [0, dims), sorted.

    `token` and `length` are scratch of stop - start + 1 entries, `out` of three times that. Returns how many.
    """
    count = tokens(data, start, stop, False, token, length)
    size = 0
    for i in range(count):
        h = np.uint64(0)
        for k in range(min(LONGEST, count - i)):
            h = (h ^ token[i + k]) * _GOLDEN
            h ^= h >> np.uint64(32)
            out[size] = mix(h) % np.uint64(dims)
            size += 1
    out[:size].sort()
    return size


@numba.njit(cache=True)
def _weighed(sorted_grams: Any, size: int, index: Any, value: Any) -> int:
    """Different features with weights 1 + log(count), scaled to unit length. Returns how many."""
    different, square = 0, 0.0
    i = 0
    while i < size:
        j = i
        while j < size and sorted_grams[j] == sorted_grams[i]:
            j += 1
        index[different] = sorted_grams[i]
        value[different] = 1.0 + np.log(j - i)
        square += value[different] ** 2
        different += 1
        i = j
    for k in range(different):
        value[k] /= np.sqrt(square)
    return different


@numba.njit(cache=True)
def score_all(data: Bytes, offsets: Any, weights: Any, biases: Any, out: Any) -> None:
    """Linear scores float64 [texts, targets] of all texts in a buffer.

    Args:
        data: All texts end to end, uint8.
        offsets: Where each text begins, and the end, [texts + 1].
        weights: Weights of the features, [dims, targets].
        biases: Bias of each target, [targets].
        out: Gets the scores, [texts, targets].
    """
    longest = 1
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i] + 1)
    token, length = np.empty(longest, np.uint64), np.empty(longest, np.int32)
    gram = np.empty(LONGEST * longest, np.uint64)
    index, value = np.empty(LONGEST * longest, np.uint64), np.empty(LONGEST * longest)
    for i in range(offsets.size - 1):
        size = _grams(data, offsets[i], offsets[i + 1], weights.shape[0], token, length, gram)
        different = _weighed(gram, size, index, value)
        for target in range(weights.shape[1]):
            total = biases[target]
            for k in range(different):
                total += value[k] * weights[index[k], target]
            out[i, target] = total


@numba.njit(cache=True)
def rows_of(data: Bytes, offsets: Any, dims: int) -> Any:
    """The texts as rows of a sparse matrix: extents [texts + 1], columns, values.

    Args:
        data: All texts end to end, uint8.
        offsets: Where each text begins, and the end, [texts + 1].
        dims: Number of features.
    """
    longest, total = 1, 0
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i] + 1)
        total += LONGEST * (offsets[i + 1] - offsets[i] + 1)
    token, length = np.empty(longest, np.uint64), np.empty(longest, np.int32)
    gram = np.empty(LONGEST * longest, np.uint64)
    extents, index, value = np.zeros(offsets.size, np.int64), np.empty(total, np.uint64), np.empty(total)
    filled = 0
    for i in range(offsets.size - 1):
        size = _grams(data, offsets[i], offsets[i + 1], dims, token, length, gram)
        filled += _weighed(gram, size, index[filled:], value[filled:])
        extents[i + 1] = filled
    return extents, index[:filled].copy(), value[:filled].copy()
