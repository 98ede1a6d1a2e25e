"""Seeded orders that stay the same across NumPy versions, number of ranks and workers."""

import hashlib

import numpy as np
import numpy.typing as npt


def shuffled(count: int, *key: int | str) -> npt.NDArray[np.int64]:
    """A permutation of `range(count)` that depends on nothing but `key`.

    Only the raw bits of Philox are used: NumPy promises those never to change, and does not promise it of
    `Generator.permutation`.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=16).digest()
    bits = np.random.Philox(key=int.from_bytes(digest, "little")).random_raw(count)
    return np.argsort(bits, kind="stable")
