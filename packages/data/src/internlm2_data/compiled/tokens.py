"""Tokens of a text as hashes: words, or characters of scripts without spaces, or identifiers and signs of code."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Hashes = npt.NDArray[np.uint64]

_FNV_OFFSET = np.uint64(0xCBF29CE484222325)
_FNV_PRIME = np.uint64(0x100000001B3)

# What a byte below 0x80 is: 0 separates, 1 is part of a word, 2 is a token of its own. 3 is one after a word or another
# sign, as in x + 1, C++ and >=, but not at the beginning of a line, where it decorates. 4 may be a minus.
_TEXT_CLASS = np.zeros(128, np.uint8)
_CODE_CLASS = np.full(128, 2, np.uint8)
for _code in range(128):
    if chr(_code).isalnum():
        _TEXT_CLASS[_code] = 1
    elif chr(_code) in "+*/<>=^%#":
        _TEXT_CLASS[_code] = 3
    elif chr(_code) == "-":
        _TEXT_CLASS[_code] = 4
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
def tokens(data: Bytes, start: int, stop: int, is_code: bool, out: Hashes, lengths: Any) -> int:
    """Hash the tokens of data[start:stop] into `out`, their characters into `lengths`. Returns how many.

    In text a token is a run of letters and digits (ASCII case folded), one character of an unspaced script (Chinese,
    Japanese, Thai), or a sign of mathematics. Punctuation and space only separate. In code it is an identifier or any
    other visible character, so that white space means nothing.

    Args:
        data: The text, uint8.
        start: Where to begin.
        stop: Where to end.
        is_code: Whether it is split as code.
        out: Gets the hashes.
        lengths: Gets the number of characters.
    """
    classes = _CODE_CLASS if is_code else _TEXT_CLASS
    count = 0
    word, length = _FNV_OFFSET, 0
    inside = False  # whether a word or a sign came before on this line, with nothing but spaces in between
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
            kind = _character_class(value, width)
        if kind == 3:
            kind = 2 if inside else 0
        elif kind == 4:
            kind = 2 if inside and _digit_follows(data, i + 1, stop) else 0
        elif byte == 10 or (kind == 0 and byte != 32 and byte != 41):
            inside = False
        elif kind == 1 or kind == 2:
            inside = True
        if kind == 1:
            word = (word ^ value) * _FNV_PRIME
            length += 1
        else:
            if length:
                out[count], lengths[count] = word, length
                count += 1
                word, length = _FNV_OFFSET, 0
            if kind == 2:
                out[count], lengths[count] = mix(value), 1
                count += 1
        i += width
    if length:
        out[count], lengths[count] = word, length
        count += 1
    return count


@numba.njit(cache=True)
def _digit_follows(data: Bytes, start: int, stop: int) -> bool:
    """Whether the next character but spaces is a digit."""
    while start < stop and data[start] == 32:
        start += 1
    return start < stop and 48 <= data[start] <= 57


@numba.njit(cache=True)
def _character_class(value: Any, width: int) -> int:
    """The class of a character beyond ASCII, given its UTF-8 bytes as one number."""
    if width == 2:
        # U+0080 to U+00BF are signs and the no-break space, among them the plus-minus sign.
        return 2 if value == 0xC2B1 else 0 if value < 0xC380 else 1
    if width == 4:
        # Ideographs beyond the first plane are F0 A0 80 80 and up.
        return 2 if value >= 0xF0A08080 else 0
    if value < 0xE0B880:
        return 1
    if value <= 0xE0B9BF:
        return 2  # Thai
    if value < 0xE28080:
        return 1
    if 0xE28880 <= value <= 0xE28BBF:
        return 2  # mathematical operators
    if value < 0xE2B080 or (0xE2B980 <= value < 0xE38181):
        return 0  # punctuation, arrows, mathematics, boxes, CJK punctuation
    if value < 0xE2B980:
        return 1
    if value < 0xEA8080:
        return 2  # kana and ideographs
    if value < 0xEFA480:
        return 1  # Hangul and others, which have spaces
    if value < 0xEFAC80:
        return 2  # compatibility ideographs
    if value == 0xEFBC8B or 0xEFBC9C <= value <= 0xEFBC9E:
        return 2  # full-width + < = >
    # Full-width forms: letters and digits are parts of words, the rest are signs.
    if 0xEFBC90 <= value <= 0xEFBC99 or 0xEFBCA1 <= value <= 0xEFBCBA or 0xEFBD81 <= value <= 0xEFBD9A:
        return 1
    return 0
