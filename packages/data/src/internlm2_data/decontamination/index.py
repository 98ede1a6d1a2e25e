"""The index of evaluation items on disk, which all workers map."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled.matching import SEED
from internlm2_data.decontamination.items import EvaluationItem
from internlm2_data.decontamination.parts import Part, chosen_parts
from internlm2_data.decontamination.settings import MatchSettings
from internlm2_data.word_index import ARRAYS, seed_index

NAMES = (*ARRAYS, "part", "part_extents", "weight")


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
        seeds = seed_index(weighed.tokens, weighed.extents, SEED, settings.seeds_at_most)
        own = {"part": weighed.tokens, "part_extents": weighed.extents, "weight": weighed.weights}
        return cls(seeds | own, parts, items)

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in NAMES:
            np.save(folder / f"{name}.npy", self.arrays[name])
        texts = {"parts": list(map(asdict, self.parts)), "items": list(map(asdict, self.items))}
        (folder / "texts.json").write_text(json.dumps(texts, ensure_ascii=False), "utf-8")

    @classmethod
    def load(cls, folder: Path) -> "ItemIndex":
        """Map what `save` wrote."""
        arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in NAMES}
        texts = json.loads((folder / "texts.json").read_text("utf-8"))
        items = [EvaluationItem(**{**item, "answers": tuple(item["answers"])}) for item in texts["items"]]
        return cls(arrays, [Part(**{**part, "items": tuple(part["items"])}) for part in texts["parts"]], items)
