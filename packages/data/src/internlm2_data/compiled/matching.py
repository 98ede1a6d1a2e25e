"""Where parts of evaluation items occur in documents: n-grams as seeds, aligned both ways or followed word by word."""

from typing import Any

import numba
import numpy as np

from internlm2_data.compiled.minhash import shingles
from internlm2_data.compiled.tokens import _FNV_OFFSET, _FNV_PRIME, Bytes, _character_class, mix

SEED = 4
# Tokens that an alignment may step over at once, on either side.
GAP = 6
FIELDS, RUN_FIELDS = 8, 4

_ASCII_KIND = np.array([chr(code).isalnum() for code in range(128)], np.int64)
_ASCII_FOLDED = np.array([ord(chr(code).lower()) for code in range(128)], np.uint8)
# Letters of two bytes without their case (Latin, Greek, Cyrillic, ...), by code point.
_FOLDED = np.array([int.from_bytes(chr(code).encode()) for code in range(0x800)], np.uint64)
for _code in range(0x80, 0x800):
    _folded = chr(_code).casefold()
    if len(_folded) == 1 and len(_folded.encode()) == 2:
        _FOLDED[_code] = int.from_bytes(_folded.encode())
_WIDE_EXCLAMATION, _WIDE_TILDE = np.uint64(0xEFBC81), np.uint64(0xEFBD9E)


@numba.njit(cache=True)
def split(data: Bytes, offsets: Any) -> Any:
    """Words of texts: their hashes, where each text's begin and end, and the bytes of each, [words, 2].

    A word is a run of letters and digits, or one character of a script without spaces. Width and case do not count (of
    letters beyond U+07FF case does), nor do signs, for a line break beside a sign must not change a word.

    Args:
        data: All texts end to end, uint8.
        offsets: Where each text begins, and the end, [texts + 1].
    """
    out, places = np.empty(data.size + 1, np.uint64), np.empty((data.size + 1, 2), np.int64)
    extents = np.zeros(offsets.size, np.int64)
    count = 0
    for text in range(offsets.size - 1):
        i, stop, inside = offsets[text], offsets[text + 1], False
        while i < stop:
            kind, value, width = _character(data, i, stop)
            if inside and kind != 1:
                places[count, 1], inside = i - offsets[text], False
                count += 1
            if kind == 1:
                if not inside:
                    out[count], places[count, 0], inside = _FNV_OFFSET, i - offsets[text], True
                out[count] = (out[count] ^ value) * _FNV_PRIME
            elif kind == 2:
                out[count], places[count, 0], places[count, 1] = (
                    mix(value),
                    i - offsets[text],
                    i + width - offsets[text],
                )
                count += 1
            i += width
        if inside:
            places[count, 1] = stop - offsets[text]
            count += 1
        extents[text + 1] = count
    return out[:count].copy(), extents, places[:count].copy()


@numba.njit(cache=True)
def _character(data: Bytes, i: int, stop: int) -> Any:
    """Whether the character at byte i separates (0), is part of a word (1) or is one (2), its value and its bytes."""
    byte = data[i]
    if byte < 0x80:
        return _ASCII_KIND[byte], np.uint64(_ASCII_FOLDED[byte]), 1
    width = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
    if width == 2 and i + 1 < stop:
        folded = _FOLDED[((byte & 0x1F) << 6) | (data[i + 1] & 0x3F)]
        return _character_class(folded, width), folded, width
    value = np.uint64(byte)
    for k in range(1, width):
        if i + k < stop:
            value = (value << np.uint64(8)) | np.uint64(data[i + k])
    if _WIDE_EXCLAMATION <= value <= _WIDE_TILDE:
        # Full-width forms: EF BC 81 is "!", EF BD 9E is "~", and a sixth bit is carried over at EF BD 80.
        last = value & np.uint64(0x3F)
        narrow = last + np.uint64(0x20) if value < np.uint64(0xEFBD80) else last + np.uint64(0x60)
        return _ASCII_KIND[narrow], np.uint64(_ASCII_FOLDED[narrow]), 3
    return _character_class(value, width), value, width


@numba.njit(cache=True)
def grams(token: Any, extents: Any, size: int) -> Any:
    """The n-gram that begins at each token, and whether one does, [tokens].

    Args:
        token: Tokens of all texts.
        extents: Where each text's begin, and the end.
        size: Tokens of an n-gram.
    """
    gram, is_gram = np.zeros(token.size, np.uint64), np.zeros(token.size, np.bool_)
    for i in range(extents.size - 1):
        start, count = extents[i], extents[i + 1] - extents[i]
        if count >= size:
            found = shingles(token[start:], count, size, gram[start:])
            is_gram[start : start + found] = True
    return gram, is_gram


@numba.njit(cache=True)
def table(key: Any, keys: Any, rows: Any) -> None:
    """Fill an open hash table, whose size is a power of two and at least twice the number of keys.

    Args:
        key: Different keys, [n].
        keys: Gets the keys.
        rows: Gets the number of each key plus one. 0 where the table is empty.
    """
    mask = np.uint64(keys.size - 1)
    for i in range(key.size):
        at = key[i] & mask
        while rows[at]:
            at = (at + np.uint64(1)) & mask
        keys[at], rows[at] = key[i], i + 1


@numba.njit(cache=True)
def _row(gram: Any, filter_bits: Any, keys: Any, rows: Any) -> int:
    """The number of an n-gram in the table, -1 where it is not there."""
    if not filter_bits[gram & np.uint64(filter_bits.size - 1)]:
        return -1
    mask = np.uint64(keys.size - 1)
    at = gram & mask
    while rows[at] and keys[at] != gram:
        at = (at + np.uint64(1)) & mask
    return int(rows[at]) - 1


@numba.njit(cache=True)
def _extend(text: Any, x: int, x_stop: int, part: Any, weight: Any, y: int, y_stop: int, step: int) -> Any:
    """Walk from (x, y) by `step` to the stops. Returns the place behind the last match, its weight, and the misses."""
    end_x, end_y, total, misses = x, y, 0.0, 0
    pending = 0
    while (x_stop - x) * step > 0 and (y_stop - y) * step > 0:
        if text[x] == part[y]:
            total += weight[y]
            misses += pending
            pending = 0
            x += step
            y += step
            end_x, end_y = x, y
            continue
        found = False
        for s in range(1, 2 * GAP + 1):
            for a in range(max(0, s - GAP), min(s, GAP) + 1):
                u, v = x + a * step, y + (s - a) * step
                if (x_stop - u) * step <= 0 or (y_stop - v) * step <= 0 or text[u] != part[v]:
                    continue
                # Two tokens in a row, or the last of the part: one alone is chance.
                ends = v + step == y_stop
                if ends or ((x_stop - u - step) * step > 0 and text[u + step] == part[v + step]):
                    x, y, pending, found = u, v, pending + s, True
                    break
            if found:
                break
        if not found:
            break
    return end_x, end_y, total, misses


@numba.njit(cache=True)
def chains(
    token: Any, extents: Any, gram: Any, is_gram: Any,
    filter_bits: Any, keys: Any, rows: Any, firsts: Any, at_part: Any, at_place: Any,
    part: Any, part_extents: Any, weight: Any, least: Any, out: Any,
) -> int:  # fmt: skip
    """Alignments of documents with parts. Returns how many there are, which may be more than fit.

    Args:
        token: Tokens of all documents, [tokens].
        extents: Where each document's begin, and the end, [documents + 1].
        gram: The 4-gram at each token, [tokens].
        is_gram: Whether there is one, [tokens].
        filter_bits: Whether a seed may have these low bits, a power of two of bytes.
        keys: Table of seeds, see `table`.
        rows: Table of seeds, see `table`.
        firsts: Where each seed's occurrences begin, and the end.
        at_part: Part of each occurrence.
        at_place: Its token in the part.
        part: Tokens of all parts.
        part_extents: Where each part's begin, and the end.
        weight: Weight of each token of the parts.
        least: Weight below which an alignment with a part is not worth telling, [parts].
        out: Gets [document, part, first and last token in the document, first and last in the part, weight in
            millionths, tokens stepped over].
    """
    reach = np.full(part_extents.size - 1, -1, np.int64)
    count = 0
    for d in range(extents.size - 1):
        for i in range(extents[d], extents[d + 1]):
            row = _row(gram[i], filter_bits, keys, rows) if is_gram[i] else -1
            if row < 0:
                continue
            for k in range(firsts[row], firsts[row + 1]):
                p = at_part[k]
                if i < reach[p]:
                    continue
                start, stop = part_extents[p], part_extents[p + 1]
                y = start + at_place[k]
                x1, y1, right, m1 = _extend(token, i, extents[d + 1], part, weight, y, stop, 1)
                x0, y0, left, m0 = _extend(token, i - 1, extents[d] - 1, part, weight, y - 1, start - 1, -1)
                reach[p] = x1
                if left + right < least[p]:
                    continue
                if count < out.shape[0]:
                    out[count, 0], out[count, 1] = d, p
                    out[count, 2], out[count, 3] = x0 + 1 - extents[d], x1 - extents[d]
                    out[count, 4], out[count, 5] = y0 + 1 - start, y1 - start
                    out[count, 6], out[count, 7] = int((left + right) * 1e6), m0 + m1
                count += 1
    return count


@numba.njit(cache=True)
def runs(
    token: Any, gram: Any, is_gram: Any,
    filter_bits: Any, keys: Any, rows: Any, firsts: Any, at_part: Any, at_place: Any,
    part: Any, part_extents: Any, least: Any, out: Any,
) -> int:  # fmt: skip
    """Words that a document and a part have in common, unbroken, each run as long as it can be. Returns how many runs
    there are, which may be more than fit.

    Args:
        token: Tokens of the document, [tokens].
        gram: The n-gram at each token, [tokens].
        is_gram: Whether there is one, [tokens].
        filter_bits: Whether a seed may have these low bits, a power of two of bytes.
        keys: Table of seeds, see `table`.
        rows: Table of seeds, see `table`.
        firsts: Where each seed's occurrences begin, and the end.
        at_part: Part of each occurrence.
        at_place: Its token in the part.
        part: Tokens of all parts.
        part_extents: Where each part's begin, and the end.
        least: Words of a run that is worth telling, [parts].
        out: Gets [part, first token in the document, first token in the part, tokens].
    """
    count = 0
    for i in range(token.size):
        row = _row(gram[i], filter_bits, keys, rows) if is_gram[i] else -1
        if row < 0:
            continue
        for k in range(firsts[row], firsts[row + 1]):
            p = at_part[k]
            start, stop = part_extents[p], part_extents[p + 1]
            y = start + at_place[k]
            # A run begins where the words before differ. Seeds inside of it are part of it.
            if i and y > start and token[i - 1] == part[y - 1]:
                continue
            size = 0
            while i + size < token.size and y + size < stop and token[i + size] == part[y + size]:
                size += 1
            if size < least[p]:
                continue
            if count < out.shape[0]:
                out[count, 0], out[count, 1], out[count, 2], out[count, 3] = p, i, y - start, size
            count += 1
    return count
