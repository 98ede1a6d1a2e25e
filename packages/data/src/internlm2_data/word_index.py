"""Texts as words, and an index of the n-grams of texts that are looked for.

`decontamination` and `contamination` use the same words and the same index. The first aligns what is between n-grams,
the second wants words unbroken.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled import matching
from internlm2_data.dedup.signing import pack

ARRAYS = ("filter_bits", "keys", "rows", "firsts", "at_part", "at_place")
FILTER_BYTES = 1 << 21


class Words(NamedTuple):
    """Words of texts, end to end. See `compiled.matching.split` for what a word is.

    Attributes:
        tokens: A hash of each word, uint64 [words].
        extents: Where each text's words begin, and the end, int64 [texts + 1].
        places: First byte of each word in its text, and the byte behind it, int64 [words, 2].
    """

    tokens: npt.NDArray[np.uint64]
    extents: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> "Words":
        """The words of texts."""
        return cls(*matching.split(*pack(texts)))

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """Number of words of each text, int64 [texts]."""
        return np.diff(self.extents)


def seed_index(tokens: Any, extents: Any, size: int, at_most: int | None = None) -> dict[str, npt.NDArray[Any]]:
    """Where each n-gram of some parts is, in the arrays that `compiled.matching` takes, by the names of its arguments.

    Args:
        tokens: Words of all parts, uint64 [words].
        extents: Where each part's begin, and the end, int64 [parts + 1].
        size: Words of an n-gram.
        at_most: N-grams with more occurrences are left out, except where a part has no rarer one. None keeps all.
    """
    gram, is_gram = matching.grams(tokens, extents, size)
    places = np.flatnonzero(is_gram)
    part = np.searchsorted(extents, places, side="right") - 1
    if at_most is not None:
        _, which, counts = np.unique(gram[places], return_inverse=True, return_counts=True)
        # Each part begins somewhere: with its rarest n-grams if all are frequent.
        often = counts[which]
        rarest = np.full(extents.size - 1, np.iinfo(np.int64).max)
        np.minimum.at(rarest, part, often)
        usable = (often <= at_most) | (often == rarest[part])
        places, part = places[usable], part[usable]
    order = np.argsort(gram[places], kind="stable")
    places, part = places[order], part[order]
    key, counts = np.unique(gram[places], return_counts=True)
    room = 1 << int(2 * max(1, key.size)).bit_length()
    keys, rows = np.zeros(room, np.uint64), np.zeros(room, np.int64)
    matching.table(key, keys, rows)
    filter_bits = np.zeros(FILTER_BYTES, np.bool_)
    filter_bits[(key & np.uint64(FILTER_BYTES - 1)).astype(np.int64)] = True
    return {
        "filter_bits": filter_bits,
        "keys": keys,
        "rows": rows,
        "firsts": np.cumsum([0, *counts], dtype=np.int64),
        "at_part": part.astype(np.int32),
        "at_place": (places - extents[part]).astype(np.int32),
    }


def all_found(find: Callable[[Any], int], fields: int, room: int) -> Any:
    """What compiled code finds, int64 [found, fields]. It is asked again where it found more than fitted.

    Args:
        find: Writes into an array [room, fields] what fits, and says how much there is.
        fields: Numbers of each.
        room: How many are expected at most.
    """
    while True:
        out = np.empty((room, fields), np.int64)
        if (count := find(out)) <= room:
            return out[:count]
        room = count
