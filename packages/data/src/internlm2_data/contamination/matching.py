"""Parts of items in the text of a document, word by word."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from internlm2_data.compiled import matching
from internlm2_data.contamination.items import Field
from internlm2_data.word_index import Words, all_found, seed_index


class Found(NamedTuple):
    """A part of a field in a document.

    Attributes:
        field: Number of the field.
        in_field: Words `[start, stop)` of the field.
        chars: Characters `[start, stop)` of the document.
    """

    field: int
    in_field: tuple[int, int]
    chars: tuple[int, int]


class Matcher:
    """Finds fields in documents. Its memory grows with the fields alone.

    Args:
        fields: What is looked for.
        n: Words of an n-gram. A shorter field is looked for whole.
    """

    def __init__(self, fields: Sequence[Field], n: int) -> None:
        words = Words.of([field.text for field in fields])
        self._least = np.minimum(n, words.sizes)
        self._size = int(min(self._least, default=n))
        index = seed_index(words.tokens, words.extents, self._size)
        self._index = [*index.values(), words.tokens, words.extents]

    def find(self, text: str) -> list[Found]:
        """All that is in a text: parts as long as they can be, of one field after another."""
        words = Words.of([text])
        found = sorted(self._runs(words).tolist())
        data = text.encode("utf-8", "replace") if found else b""
        return [
            Found(
                field,
                (in_field, in_field + size),
                (len(data[: words.places[at, 0]].decode()), len(data[: words.places[at + size - 1, 1]].decode())),
            )
            for field, at, in_field, size in found
        ]

    def _runs(self, words: Words) -> Any:
        gram, is_gram = matching.grams(words.tokens, words.extents, self._size)
        arguments: list[Any] = [words.tokens, gram, is_gram, *self._index, self._least]
        return all_found(lambda out: int(matching.runs(*[*arguments, out])), matching.RUN_FIELDS, room=256)
