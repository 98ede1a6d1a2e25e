"""MinHash and exact comparison: shingles, minima, Jaccard index.

Many texts come in one buffer, because a call per document would cost more than the work.
"""

from typing import Any

import numba
import numpy as np

from internlm2_data.compiled.tokens import Bytes, Hashes, mix, tokens

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@numba.njit(cache=True)
def _chain(token: Hashes, count: int) -> Any:
    """A hash of a whole sequence of tokens. 0 for an empty one."""
    h = np.uint64(0)
    for i in range(count):
        h = (h ^ token[i]) * _GOLDEN
        h ^= h >> np.uint64(32)
    return mix(h)


@numba.njit(cache=True)
def shingles(token: Hashes, count: int, ngram: int, out: Hashes) -> int:
    """Hash every run of `ngram` tokens into `out`. A shorter text is one shingle. Returns how many.

    Args:
        token: Hashes of the tokens.
        count: How many there are.
        ngram: Tokens of a shingle.
        out: Gets the hashes of the shingles.
    """
    if count == 0:
        return 0
    length = min(ngram, count)
    for i in range(count - length + 1):
        h = np.uint64(length)
        for k in range(length):
            h = (h ^ token[i + k]) * _GOLDEN
            h ^= h >> np.uint64(32)
        out[i] = mix(h)
    return count - length + 1


@numba.njit(cache=True)
def minima(shingle: Hashes, count: int, factors: Any, addends: Any, out: Any) -> None:
    """For each permutation x -> factor * x + addend (mod 2^32) the least value over the shingles, uint32 [128].

    Args:
        shingle: Hashes of the shingles.
        count: How many there are.
        factors: Of the permutations, [128].
        addends: Of the permutations, [128].
        out: Gets the minima, [128].
    """
    out[:] = np.uint32(0xFFFFFFFF)
    for i in range(count):
        x = np.uint32(shingle[i] >> np.uint64(32))
        for k in range(out.size):
            value = np.uint32(factors[k] * x + addends[k])
            out[k] = min(out[k], value)


@numba.njit(cache=True)
def sign_all(
    data: Bytes,
    offsets: Any,
    is_code: Any,
    ngram: int,
    factors: Any,
    addends: Any,
    signatures: Any,
    sizes: Any,
    whole: Any,
) -> None:
    """Signatures uint32 [texts, 128], numbers of shingles and a hash of all tokens of each text in the buffer.

    Args:
        data: All texts end to end, uint8.
        offsets: Where each text begins, and the end, [texts + 1].
        is_code: Whether texts are split as code.
        ngram: Tokens of a shingle.
        factors: Of the permutations, [128].
        addends: Of the permutations, [128].
        signatures: Gets the minima, [texts, 128].
        sizes: Gets the number of shingles, [texts].
        whole: Gets a hash of all tokens, [texts].
    """
    longest = 0
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    token, shingle = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    length = np.empty(longest + 1, np.int32)
    for i in range(offsets.size - 1):
        count = tokens(data, offsets[i], offsets[i + 1], is_code[i], token, length)
        whole[i] = _chain(token, count)
        sizes[i] = shingles(token, count, ngram, shingle)
        minima(shingle, sizes[i], factors, addends, signatures[i])


@numba.njit(cache=True)
def shingle_one(data: Bytes, is_code: bool, ngram: int) -> Any:
    """Sorted different shingles of one text.

    Args:
        data: The text, uint8.
        is_code: Whether it is split as code.
        ngram: Tokens of a shingle.
    """
    token, shingle = np.empty(data.size + 1, np.uint64), np.empty(data.size + 1, np.uint64)
    count = tokens(data, 0, data.size, is_code, token, np.empty(data.size + 1, np.int32))
    count = shingles(token, count, ngram, shingle)
    return np.unique(shingle[:count])


@numba.njit(cache=True)
def jaccard(one: Hashes, other: Hashes) -> float:
    """Jaccard index of two sorted sets.

    Args:
        one: Sorted different shingles.
        other: Those of the other text.
    """
    i = j = both = 0
    while i < one.size and j < other.size:
        if one[i] == other[j]:
            both += 1
            i += 1
            j += 1
        elif one[i] < other[j]:
            i += 1
        else:
            j += 1
    either = one.size + other.size - both
    return both / either if either else 0.0


@numba.njit(cache=True)
def agreement(signatures: Any, left: Any, right: Any, out: Any) -> None:
    """Share of equal minima of each pair of rows: the estimate of its Jaccard index.

    Args:
        signatures: Minima of all texts, [texts, 128].
        left: One text of each pair, [pairs].
        right: The other, [pairs].
        out: Gets the share of equal minima, [pairs].
    """
    for i in range(left.size):
        equal = 0
        for k in range(signatures.shape[1]):
            equal += signatures[left[i], k] == signatures[right[i], k]
        out[i] = equal / signatures.shape[1]
