"""The index of evaluation items on disk, which all workers map."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled import matching
from internlm2_data.decontamination.items import EvaluationItem
from internlm2_data.decontamination.parts import Part, Weighed, chosen_parts
from internlm2_data.decontamination.settings import MatchSettings

ARRAYS = ("filter_bits", "keys", "rows", "firsts", "at_part", "at_place", "part", "part_extents", "weight")
FILTER_BYTES = 1 << 21


@dataclass(frozen=True)
class ItemIndex:
    """Seeds, parts and items.

    Attributes:
        arrays: What `compiled.matching.chains` takes, by the names of its arguments.
        parts: The parts that are looked for.
        items: All items.
    """

    arrays: dict[str, npt.NDArray[Any]]
    parts: Sequence[Part]
    items: Sequence[EvaluationItem]

    @classmethod
    def of(cls, items: Sequence[EvaluationItem], settings: MatchSettings) -> "ItemIndex":
        """The index of items.

        Args:
            items: All items.
            settings: What is looked for.
        """
        parts, weighed = chosen_parts(items, settings)
        return cls(_arrays(weighed, settings.seeds_at_most), parts, items)

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", self.arrays[name])
        texts = {"parts": list(map(asdict, self.parts)), "items": list(map(asdict, self.items))}
        (folder / "texts.json").write_text(json.dumps(texts, ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> "ItemIndex":
        """Map what `save` wrote."""
        arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ARRAYS}
        texts = json.loads((folder / "texts.json").read_text("utf-8"))
        items = [EvaluationItem(**{**item, "answers": tuple(item["answers"])}) for item in texts["items"]]
        return cls(arrays, [Part(**{**part, "items": tuple(part["items"])}) for part in texts["parts"]], items)


def _arrays(weighed: Weighed, seeds_at_most: int) -> dict[str, npt.NDArray[Any]]:
    gram, is_gram = matching.grams(weighed.tokens, weighed.extents)
    places = np.flatnonzero(is_gram)
    part = np.searchsorted(weighed.extents, places, side="right") - 1
    _, which, counts = np.unique(gram[places], return_inverse=True, return_counts=True)
    # Each part begins somewhere: with its rarest 4-grams if all are frequent.
    often = counts[which]
    rarest = np.full(weighed.extents.size - 1, np.iinfo(np.int64).max)
    np.minimum.at(rarest, part, often)
    usable = (often <= seeds_at_most) | (often == rarest[part])
    places, part = places[usable], part[usable]
    order = np.argsort(gram[places], kind="stable")
    places, part = places[order], part[order]
    key, counts = np.unique(gram[places], return_counts=True)
    size = 1 << int(2 * max(1, key.size)).bit_length()
    keys, rows = np.zeros(size, np.uint64), np.zeros(size, np.int64)
    matching.table(key, keys, rows)
    filter_bits = np.zeros(FILTER_BYTES, np.bool_)
    filter_bits[(key & np.uint64(FILTER_BYTES - 1)).astype(np.int64)] = True
    return {
        "filter_bits": filter_bits,
        "keys": keys,
        "rows": rows,
        "firsts": np.cumsum([0, *counts], dtype=np.int64),
        "at_part": part.astype(np.int32),
        "at_place": (places - weighed.extents[part]).astype(np.int32),
        "part": weighed.tokens,
        "part_extents": weighed.extents,
        "weight": weighed.weights,
    }
