"""A document with what rules measure on it, each computed once and only when asked for.

Chinese, Japanese and Thai have no spaces between words: there a word is a character (punctuation excepted),
which is also what the 5-grams of deduplication are made of.
"""

import re
from collections import Counter
from functools import cached_property

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled.repetition import repeated
from internlm2_data.document import Document

UNSPACED = frozenset({"zh", "ja", "th"})
_HAN_OR_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff\u0e00-\u0e7f]|[^\W_]+")


class Page:
    """Measures of one document's text.

    Args:
        document: The document.
    """

    def __init__(self, document: Document) -> None:
        self.document = document

    @property
    def text(self) -> str:
        """The text."""
        return self.document.text

    @cached_property
    def lines(self) -> list[str]:
        """Lines that are not blank, stripped."""
        return [stripped for line in self.text.split("\n") if (stripped := line.strip())]

    @cached_property
    def paragraphs(self) -> list[str]:
        """Stretches between blank lines. Where there are none, the lines."""
        parts = [stripped for part in self.text.split("\n\n") if (stripped := part.strip())]
        return parts if len(parts) > 1 else self.lines

    @cached_property
    def words(self) -> list[str]:
        """Words between spaces, with their punctuation, as Gopher counts them. Characters of scripts without spaces.

        The bars and rules that tables are written with are none.
        """
        if self.document.language in UNSPACED:
            return _HAN_OR_WORD.findall(self.text)
        words = self.text.split()
        return [word for word in words if word.strip("|-:") or "|" not in word] if "|" in self.text else words

    @cached_property
    def characters(self) -> int:
        """Characters that are not white space."""
        return sum(map(len, self.text.split()))

    @cached_property
    def counts(self) -> Counter[str]:
        """How often each character occurs."""
        return Counter(self.text)

    def count(self, characters: frozenset[str]) -> int:
        """How many of the text's characters are among these."""
        counts = self.counts
        return (
            sum(counts[c] for c in characters)
            if len(characters) < len(counts)
            else sum(n for c, n in counts.items() if c in characters)
        )

    @cached_property
    def alphabetic(self) -> int:
        """Letters of any script."""
        return sum(n for c, n in self.counts.items() if c.isalpha())

    @cached_property
    def word_set(self) -> frozenset[str]:
        """Different words in lower case."""
        return frozenset(map(str.lower, set(self.words)))

    @cached_property
    def lowered(self) -> str:
        """The text in lower case."""
        return self.text.lower()

    @cached_property
    def data(self) -> npt.NDArray[np.uint8]:
        """The text as UTF-8, for compiled loops."""
        return np.frombuffer(self.text.encode("utf-8", "replace"), np.uint8)

    @cached_property
    def repeated_ngrams(self) -> npt.NDArray[np.float64]:
        """Shares of characters in repeated n-grams by n. See `compiled.repetition.repeated`."""
        return repeated(self.data)
