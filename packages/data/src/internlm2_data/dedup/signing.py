"""Signatures of documents: what deduplication remembers of a text."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled import minhash
from internlm2_data.dedup.settings import PERMUTATIONS, DedupSettings


class Signatures(NamedTuple):
    """What is computed of texts.

    Attributes:
        minima: Uint32 [texts, 128].
        sizes: Int32 [texts]: number of shingles, 0 for a text without a token.
        exact: Uint64 [texts]: equal for texts that differ in case, punctuation and white space alone. 0 for no token.
    """

    minima: npt.NDArray[np.uint32]
    sizes: npt.NDArray[np.int32]
    exact: npt.NDArray[np.uint64]


def sign(texts: Sequence[str], is_code: Sequence[bool], settings: DedupSettings) -> Signatures:
    """Sign many texts at once.

    Args:
        texts: What to sign.
        is_code: Whether texts are split as code.
        settings: Settings of deduplication.
    """
    data, offsets = pack(texts)
    minima = np.empty((len(texts), PERMUTATIONS), np.uint32)
    sizes = np.empty(len(texts), np.int32)
    exact = np.empty(len(texts), np.uint64)
    factors, addends = permutations(settings.seed)
    code = np.asarray(is_code, np.bool_)
    minhash.sign_all(data, offsets, code, settings.ngram, factors, addends, minima, sizes, exact)
    return Signatures(minima, sizes, exact)


def shingle_set(text: str, is_code: bool, ngram: int) -> npt.NDArray[np.uint64]:
    """The sorted set of a text's shingles, as 64-bit hashes.

    Args:
        text: One text.
        is_code: Whether it is split as code.
        ngram: Tokens of a shingle.
    """
    data, _ = pack([text])
    return minhash.shingle_one(data, is_code, ngram)


def pack(texts: Sequence[str]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """UTF-8 of all texts end to end, and where each begins and ends."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(data) for data in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


@lru_cache(maxsize=4)
def permutations(seed: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """Factors (odd) and addends of the 128 permutations of 32-bit numbers."""
    bits = np.random.Philox(key=seed).random_raw(2 * PERMUTATIONS)
    return (bits[:PERMUTATIONS] >> 32).astype(np.uint32) | np.uint32(1), (bits[PERMUTATIONS:] >> 32).astype(np.uint32)
