"""Loops over bytes, compiled by numba: tokens, shingles, minima.

Texts arrive as UTF-8, many in one buffer, because a call per document would cost more than the work.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

# What a byte below 0x80 is: 0 separates, 1 is part of a word, 2 is a token of its own (in code).
_TEXT_CLASS = np.zeros(128, np.uint8)
_CODE_CLASS = np.full(128, 2, np.uint8)
for _code in range(128):
    if chr(_code).isalnum():
        _TEXT_CLASS[_code] = 1
    if chr(_code).isalnum() or chr(_code) == "_":
        _CODE_CLASS[_code] = 1
    elif chr(_code).isspace() or _code < 32:
        _CODE_CLASS[_code] = 0


@numba.njit(cache=True)
def mix(x: Any) -> Any:
    """MurmurHash3's finaliser: every input bit moves every output bit."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


@numba.njit(cache=True)
def tokens(data: Bytes, start: int, stop: int, is_code: bool, out: Hashes) -> int:
    """Hash the tokens of data[start:stop] into `out`; returns how many.

    In text a token is a run of letters and digits (ASCII case folded), or one character of an unspaced script: Chinese,
    Japanese, Thai; punctuation and space only separate. In code it is an identifier or any other visible character,
    so that white space means nothing.
    """
    classes = _CODE_CLASS if is_code else _TEXT_CLASS
    count = 0
    word = _FNV_OFFSET
    inside = False
    i = start
    while i < stop:
        byte = data[i]
        if byte < 0x80:
            kind, width = classes[byte], 1
            value = np.uint64(byte)
            if not is_code and 65 <= byte <= 90:
                value = np.uint64(byte + 32)
        else:
            width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            value = np.uint64(byte)
            for k in range(1, width):
                if i + k < stop:
                    value = (value << np.uint64(8)) | np.uint64(data[i + k])
            kind = character_class(value, width)
        if kind == 1:
            word = (word ^ value) * _FNV_PRIME
            inside = True
        else:
            if inside:
                out[count] = word
                count += 1
                word, inside = _FNV_OFFSET, False
            if kind == 2:
                out[count] = mix(value)
                count += 1
        i += width
    if inside:
        out[count] = word
        count += 1
    return count


@numba.njit(cache=True)
def character_class(value: Any, width: int) -> int:
    """The class of a character beyond ASCII, given its UTF-8 bytes as one number."""
    if width == 2:
        # U+0080 to U+00BF are signs and the no-break space.
        return 0 if value < 0xC380 else 1
    if width == 4:
        # Ideographs beyond the first plane are F0 A0 80 80 and up.
        return 2 if value >= 0xF0A08080 else 0
    if value < 0xE0B880:
        return 1
    if value <= 0xE0B9BF:
        return 2  # Thai
    if value < 0xE28080:
        return 1
    if value < 0xE2B080 or (0xE2B980 <= value < 0xE38181):
        return 0  # punctuation, arrows, mathematics, boxes; CJK punctuation
    if value < 0xE2B980:
        return 1
    if value < 0xEA8080:
        return 2  # kana and ideographs
    if value < 0xEFA480:
        return 1  # Hangul and others, which have spaces
    if value < 0xEFAC80:
        return 2  # compatibility ideographs
    # Full-width forms: letters and digits are parts of words, the rest are signs.
    if 0xEFBC90 <= value <= 0xEFBC99 or 0xEFBCA1 <= value <= 0xEFBCBA or 0xEFBD81 <= value <= 0xEFBD9A:
        return 1
    return 0


@numba.njit(cache=True)
def shingles(token: Hashes, count: int, ngram: int, out: Hashes) -> int:
    """Hash every run of `ngram` tokens into `out`; a shorter text is one shingle. Returns how many."""
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
    """For each permutation x -> factor * x + addend (mod 2^32) the least value over the shingles; uint32 [128]."""
    out[:] = np.uint32(0xFFFFFFFF)
    for i in range(count):
        x = np.uint32(shingle[i] >> np.uint64(32))
        for k in range(out.size):
            value = np.uint32(factors[k] * x + addends[k])
            out[k] = min(out[k], value)


@numba.njit(cache=True)
def sign_all(
    data: Bytes, offsets: Any, is_code: Any, ngram: int, factors: Any, addends: Any, signatures: Any, sizes: Any
) -> None:
    """Signatures uint32 [texts, 128] and numbers of shingles of all texts in the buffer."""
    longest = 0
    for i in range(offsets.size - 1):
        longest = max(longest, offsets[i + 1] - offsets[i])
    token, shingle = np.empty(longest + 1, np.uint64), np.empty(longest + 1, np.uint64)
    for i in range(offsets.size - 1):
        count = tokens(data, offsets[i], offsets[i + 1], is_code[i], token)
        sizes[i] = shingles(token, count, ngram, shingle)
        minima(shingle, sizes[i], factors, addends, signatures[i])


@numba.njit(cache=True)
def shingle_one(data: Bytes, is_code: bool, ngram: int) -> Any:
    """Sorted different shingles of one text."""
    token, shingle = np.empty(data.size + 1, np.uint64), np.empty(data.size + 1, np.uint64)
    count = shingles(token, tokens(data, 0, data.size, is_code, token), ngram, shingle)
    return np.unique(shingle[:count])


@numba.njit(cache=True)
def jaccard(one: Hashes, other: Hashes) -> float:
    """Jaccard index of two sorted sets."""
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
    """Share of equal minima of each pair of rows: the estimate of its Jaccard index."""
    for i in range(left.size):
        equal = 0
        for k in range(signatures.shape[1]):
            equal += signatures[left[i], k] == signatures[right[i], k]
        out[i] = equal / signatures.shape[1]


@numba.njit(cache=True)
def find(parent: Any, i: int) -> int:
    """The root of i, halving the path."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
