"""How much of each portion: shares, bytes, and the most epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Portion:
    """One part of the mixture.

    Attributes:
        share: Of the mixture. Shares are relative to their sum.
        queries: Files of queries. Documents of the inputs that answer them best are chosen.
        inputs: Files and folders of documents that were chosen as good already. A portion has queries or inputs.
        min_score: Documents below it are not chosen, however much is missing.
    """

    share: float
    queries: Sequence[str] = field(default_factory=list)
    inputs: Sequence[str] = field(default_factory=list)
    min_score: float = 0.1

    def __post_init__(self) -> None:
        """Check that it has one source."""
        if self.share <= 0:
            raise ValueError(f"share={self.share} must be above 0.")
        if bool(self.queries) == bool(self.inputs):
            raise ValueError(
                f"queries={list(self.queries)} and inputs={list(self.inputs)}: one of them must name files."
            )


def chosen(
    scores: npt.NDArray[np.float32], sizes: npt.NDArray[np.int64], wanted: Sequence[float], least: Sequence[float]
) -> npt.NDArray[np.int64]:
    """The portion of each document, -1 for none: the best first, until a portion has the bytes that it wants.

    A document of which two portions want something goes to the one where it ranks higher.

    Args:
        scores: Of each document in each portion, [documents, portions].
        sizes: Bytes of each document, [documents].
        wanted: Bytes that each portion wants.
        least: Least score of each portion.
    """
    of = np.full(len(sizes), -1, np.int64)
    order = np.argsort(-scores, axis=0, kind="stable")
    left = list(wanted)
    for row in order:
        for portion, document in enumerate(row.tolist()):
            if of[document] < 0 and left[portion] > 0 and scores[document, portion] >= least[portion]:
                of[document] = portion
                left[portion] -= int(sizes[document])
    return of


def mixture(bytes_by_cell: Mapping[str, Mapping[str, int]], shares: Mapping[str, float], size: int, most: float) -> Any:
    """Shares, epochs and the loader's weights.

    Args:
        bytes_by_cell: Bytes of what was chosen, by portion and cell ("stem" -> "en-stem").
        shares: Share of each portion, relative to their sum.
        size: Bytes that the phase is to see.
        most: The most epochs of a portion.

    Raises:
        ValueError: If a portion holds too little for that.
    """
    total = sum(shares.values())
    unique = {name: sum(bytes_by_cell.get(name, {}).values()) for name in shares}
    largest = {name: most * unique[name] * total / shares[name] for name in shares}
    scarcest = min(largest, key=lambda name: largest[name])
    if size > largest[scarcest]:
        raise ValueError(
            f"size_bytes={size} must be {int(largest[scarcest])} or less: {scarcest} has {unique[scarcest]} bytes for "
            f"{shares[scarcest] / total:.0%} of the mixture, and max_epochs={most:g}."
        )
    portions = {
        name: {
            "share": shares[name] / total,
            "bytes": unique[name],
            "epochs": size * shares[name] / total / unique[name],
        }
        for name in shares
    }
    weights = {
        cell: count / unique[name] * shares[name] / total
        for name, cells in bytes_by_cell.items()
        for cell, count in sorted(cells.items())
    }
    return {"size_bytes": size, "largest_bytes": int(largest[scarcest]), "portions": portions, "weights": weights}
