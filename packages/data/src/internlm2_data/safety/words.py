"""Block list of words and phrases, all found in one pass (Aho-Corasick).

A phrase of letters with spaces between words counts only between word boundaries ("Scunthorpe", "assess" are innocent).
Chinese has none, and there a phrase counts wherever it is. What is compared with the threshold is matches per thousand
words (characters in Chinese). A few matches prove nothing: a text for patients or pupils names such things too. So
there is a floor of matches and of different phrases. A line that begins with ! is a phrase that no other kind of page
has ("under 18s leave this site"), for which there is no floor.
"""

from collections.abc import Sequence
from functools import cached_property
from importlib.resources import files
from pathlib import Path

import ahocorasick_rs

from internlm2_data.page import Page
from internlm2_data.rules.alphabet import HAN
from internlm2_data.verdict import KEEP, Drop, Verdict


def default_words() -> list[Path]:
    """The small lists that come with this package: a beginning, not a safety net."""
    folder = Path(str(files(__package__))) / "lists"
    return [folder / "words.en.txt", folder / "words.zh.txt"]


class WordList:
    """Drops documents in which listed words are frequent.

    Args:
        files: One phrase a line, UTF-8. None for `default_words()`.
        max_per_thousand: Matches per thousand words above which a document goes.
        min_different: How many different phrases must occur.
        min_matches: How many matches there must be.

    Raises:
        FileNotFoundError: If a list is not there.
    """

    def __init__(
        self,
        files: Sequence[str | Path] | None = None,
        max_per_thousand: float = 5.0,
        min_different: int = 3,
        min_matches: int = 5,
    ) -> None:
        self.files = default_words() if files is None else [Path(file) for file in files]
        self.max_per_thousand, self.min_different, self.min_matches = max_per_thousand, min_different, min_matches
        for file in self.files:
            if not file.is_file():
                raise FileNotFoundError(f"{file} is not a list of words.")

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        return [self._judge(page) for page in pages]

    def matches(self, text: str) -> list[str]:
        """The phrases found, in order, leftmost and longest."""
        text = text.lower()
        phrases = self._phrases
        return [
            phrases[i]
            for i, start, stop in self._automaton.find_matches_as_indexes(text)
            if self._unspaced[i] or _alone(text, start, stop)
        ]

    def _judge(self, page: Page) -> Verdict:
        found = self.matches(page.text)
        few = len(found) < self.min_matches or len(set(found)) < self.min_different
        if few and self._decisive.isdisjoint(found):
            return KEEP
        rate = 1000 * len(found) / max(1, len(page.words))
        return Drop("safety.words", round(rate, 3), self.max_per_thousand) if rate > self.max_per_thousand else KEEP

    @cached_property
    def _lines(self) -> list[str]:
        lines = [line.strip().lower() for file in self.files for line in file.read_text("utf-8").splitlines()]
        return [line for line in lines if line and not line.startswith("#")]

    @cached_property
    def _decisive(self) -> frozenset[str]:
        return frozenset(line[1:] for line in self._lines if line.startswith("!"))

    @cached_property
    def _phrases(self) -> list[str]:
        return sorted({line.removeprefix("!") for line in self._lines})

    @cached_property
    def _unspaced(self) -> list[bool]:
        return [HAN.search(phrase) is not None for phrase in self._phrases]

    @cached_property
    def _automaton(self) -> ahocorasick_rs.AhoCorasick:
        return ahocorasick_rs.AhoCorasick(
            self._phrases,
            matchkind=ahocorasick_rs.MatchKind.LeftmostLongest,
            implementation=ahocorasick_rs.Implementation.ContiguousNFA,
        )

    def __getstate__(self) -> dict[str, object]:
        # The automaton does not pickle. Each worker builds its own.
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}


def _alone(text: str, start: int, stop: int) -> bool:
    before, after = text[start - 1 : start], text[stop : stop + 1]
    return not (before.isalnum() and text[start].isalnum()) and not (after.isalnum() and text[stop - 1].isalnum())
