"""n-grams of items in the text of a document."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from internlm2_data.contamination.items import Field
from internlm2_data.contamination.units import UNIT, Hashes, gram_hashes, unit_hashes, units_of


class Found(NamedTuple):
    """A part of a field in a document.

    Attributes:
        field: Number of the field.
        in_field: Units `[start, stop)` of the field.
        chars: Characters `[start, stop)` of the document.
    """

    field: int
    in_field: tuple[int, int]
    chars: tuple[int, int]


class Matcher:
    """Finds fields in documents. Its memory grows with the fields alone.

    Args:
        fields: What is looked for.
        n: Units of an n-gram. A shorter field is looked for whole.
    """

    def __init__(self, fields: Sequence[Field], n: int) -> None:
        self.fields = fields
        places: dict[int, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
        for number, field in enumerate(fields):
            size = min(n, len(field.words))
            for at, gram in enumerate(gram_hashes(unit_hashes(field.words), size).tolist()):
                places[size][gram].append((number, at))
        self._places = {size: dict(grams) for size, grams in places.items()}
        self._known = {size: np.array(sorted(grams), np.uint64) for size, grams in places.items()}

    def find(self, text: str) -> list[Found]:
        """All that is in a text: parts as long as they can be, of one field after another."""
        # Places and spellings of units are only found out where something is.
        hashes = unit_hashes(UNIT.findall(text))
        hits = {size: known_places(gram_hashes(hashes, size), known) for size, known in self._known.items()}
        if not any(hits.values()):
            return []
        units = units_of(text)
        # A unit of a field that is at the same distance in the document belongs to the same part.
        runs: dict[tuple[int, int], list[int]] = defaultdict(list)
        for size, places in hits.items():
            for at in places:
                [gram] = gram_hashes(hashes[at : at + size], size).tolist()
                for number, place in self._places[size][gram]:
                    if units.words[at : at + size] == self.fields[number].words[place : place + size]:
                        runs[number, at - place] += range(place, place + size)
        return [
            Found(number, (start, stop), (units.starts[start + shift], units.stops[stop + shift - 1]))
            for (number, shift), covered in sorted(runs.items())
            for start, stop in stretches(sorted(set(covered)))
        ]


def known_places(grams: Hashes, known: Hashes) -> list[int]:
    """Where n-grams of a document are among those that are looked for.

    Args:
        grams: A hash of each n-gram of the document, [n-grams].
        known: Hashes that are looked for, sorted, [known].
    """
    nearest = np.minimum(np.searchsorted(known, grams), len(known) - 1)
    return list(np.flatnonzero(known[nearest] == grams).tolist())


def stretches(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Sorted numbers as stretches `[start, stop)` of neighbours."""
    start = 0
    for place in range(1, len(numbers) + 1):
        if place == len(numbers) or numbers[place] != numbers[place - 1] + 1:
            yield numbers[start], numbers[place - 1] + 1
            start = place
