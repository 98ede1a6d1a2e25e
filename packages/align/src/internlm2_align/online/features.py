"""What a reply shows: script, format, length, form of the answer, and texts at its beginning, end or anywhere."""

import re
from collections.abc import Sequence
from functools import cache, cached_property
from typing import NamedTuple

from internlm2_align.online.forms import FORMS

WORDS = re.compile(r"[一-鿿぀-ヿ가-힯]|(?:(?![一-鿿぀-ヿ가-힯])\w)+|[^\w\s]")
"""Words, single characters of Chinese, Japanese and Korean, and punctuation marks."""
MARK = "\x1f"
TEXTS = ("prefix", "suffix", "phrase")
"""Kinds whose value is a text."""


class Feature(NamedTuple):
    """Something that a reply shows or not.

    Attributes:
        kind: ``prefix``, ``suffix``, ``phrase``, ``length``, or one of `internlm2_align.online.forms.FORMS`:
            ``language``, ``format``, ``choice``, ``number``, ``refusal``, ``repeats``.
        value: The text of a prefix, suffix or phrase, ``long`` or ``short`` for a length, the script, part of Markdown,
            letter or form of number. Empty for the others.
    """

    kind: str
    value: str = ""

    def __str__(self) -> str:
        """As ``kind: value``."""
        return f"{self.kind}: {self.value}" if self.value else self.kind


class Lengths(NamedTuple):
    """Lengths in characters that replies usually have.

    Attributes:
        least: Few are shorter.
        most: Few are longer.
    """

    least: float = 0.0
    most: float = float("inf")


def usual_lengths(texts: Sequence[str], share: float = 0.05) -> Lengths:
    """Where short and long replies begin. Without texts none is either.

    Args:
        texts: Replies of the early policy.
        share: At most this share of them is shorter, and as much longer.
    """
    lengths = sorted(len(text.strip()) for text in texts)
    if not lengths:
        return Lengths()
    few = int(share * len(lengths))
    return Lengths(lengths[few], lengths[-1 - few])


class Shown:
    """What one reply shows. There are too many phrases to list, so it is asked: ``feature in features_of(text, ...)``.

    Args:
        text: The reply.
        lengths: Usual ones.
    """

    def __init__(self, text: str, lengths: Lengths) -> None:
        self.text, self.lengths = text.strip(), lengths
        self._forms: dict[str, set[str]] = {}

    @cached_property
    def marked(self) -> str:
        """Its words with marks between them and around them."""
        return marked(WORDS.findall(self.text))

    def values(self, kind: str) -> set[str]:
        """What it shows of a kind whose values can be listed.

        Args:
            kind: ``length`` or one of `FORMS`.
        """
        if kind == "length":
            size, (least, most) = len(self.text), self.lengths
            return {"long"} if size > most else {"short"} if size < least else set()
        if kind not in self._forms:
            self._forms[kind] = FORMS[kind](self.text)
        return self._forms[kind]

    def __contains__(self, feature: Feature) -> bool:
        """Whether the reply shows it. Space between words does not matter."""
        if feature.kind not in TEXTS:
            return feature.value in self.values(feature.kind)
        wanted = _wanted(feature.value)
        if feature.kind == "prefix":
            return self.marked.startswith(wanted)
        return self.marked.endswith(wanted) if feature.kind == "suffix" else wanted in self.marked


def features_of(text: str, lengths: Lengths) -> Shown:
    """What a reply shows, to be asked with ``in``.

    Args:
        text: The reply.
        lengths: Of `usual_lengths`.
    """
    return Shown(text, lengths)


@cache
def _wanted(value: str) -> str:
    return marked(WORDS.findall(value))


def marked(words: Sequence[str]) -> str:
    """Words as one text in which whole words can be searched.

    Args:
        words: In order.
    """
    return MARK + "".join(word + MARK for word in words)
