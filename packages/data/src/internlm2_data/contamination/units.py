"""Texts as units, and hashes of n-grams of them."""

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from xxhash import xxh64_intdigest

WITHOUT_SPACES = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
UNIT = re.compile(rf"[{WITHOUT_SPACES}]|[^\W_{WITHOUT_SPACES}]+")
"""A character of a script without spaces between words, or a run of letters and digits."""

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)

Hashes = npt.NDArray[np.uint64]


class Units(NamedTuple):
    """A text in units.

    Attributes:
        words: Each unit, normalised.
        starts: Character at which each begins.
        stops: Character after each.
    """

    words: Sequence[str]
    starts: Sequence[int]
    stops: Sequence[int]


def units_of(text: str) -> Units:
    """The units of a text, in order."""
    found = list(UNIT.finditer(text))
    return Units(
        [normalised(match[0]) for match in found],
        [match.start() for match in found],
        [match.end() for match in found],
    )


@lru_cache(1 << 18)
def normalised(unit: str) -> str:
    """A unit without differences of case and of width."""
    return unicodedata.normalize("NFKC", unit).casefold()


def unit_hashes(units: Sequence[str]) -> Hashes:
    """A hash of each unit, [units]."""
    return np.fromiter(map(unit_hash, units), np.uint64, len(units))


@lru_cache(1 << 18)
def unit_hash(unit: str) -> int:
    """64 bits of a unit, normalised."""
    return int(xxh64_intdigest(normalised(unit).encode()))


def gram_hashes(units: Hashes, n: int) -> Hashes:
    """A hash of each n-gram, [units - n + 1].

    Args:
        units: A hash of each unit, [units].
        n: Units of an n-gram.
    """
    count = max(0, len(units) - n + 1)
    grams = np.zeros(count, np.uint64)
    for place in range(n if count else 0):
        grams = grams * MULTIPLIER + units[place : place + count]
    return grams
