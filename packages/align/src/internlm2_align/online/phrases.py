"""Beginnings, endings and phrases that late replies show more often, each named whole.

Runs of words (of characters in Chinese) are counted level by level: a run of n words is looked at only where both of
its runs of n - 1 words are frequent in late replies. Each level is linear in the text, and there are few. What rises is
then grown to the longest text that the same replies show.
"""

import bisect
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from internlm2_align.online.features import MARK, WORDS, Feature, Shown, marked

Bools = NDArray[np.bool_]
SENTENCE_END = re.compile(r"^(?:[.!?,;:)\]]\s+|[。！？，；：）])(?=\S)")
LONGEST_SEED = 8
"""Words of the runs that are counted. Longer texts are found by growing them."""


@dataclass(frozen=True)
class Words:
    """All words of all replies, end to end.

    Attributes:
        ids: Number of each word's spelling.
        replies: The reply that each word is in.
        count: Replies.
    """

    ids: NDArray[np.int64]
    replies: NDArray[np.int64]
    count: int

    @classmethod
    def of(cls, shown: Sequence[Shown]) -> "Words":
        """Those of some replies."""
        spellings: dict[str, int] = {}
        lists = [
            [spellings.setdefault(word, len(spellings)) for word in reply.marked.split(MARK)[1:-1]] for reply in shown
        ]
        ids = np.fromiter((id_ for words in lists for id_ in words), np.int64)
        return cls(ids, np.repeat(np.arange(len(lists)), [len(words) for words in lists]), len(lists))

    def ends(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Places of each reply's first word and of its last, of those that have any."""
        changes = np.flatnonzero(np.diff(self.replies, prepend=-1))
        return changes, np.append(changes[1:], len(self.ids)) - 1


def rising_texts(shown: Sequence[Shown], early: Bools, late: Bools, least: float) -> dict[Feature, Bools]:
    """Short texts that late replies show more often than early ones, by which replies show them.

    Of texts that exactly the same replies show in the same way one is given, the longest.

    Args:
        shown: The replies.
        early: [replies], those of the early policy.
        late: [replies], those of the late one.
        least: Least rise of the share of replies.
    """
    words = Words.of(shown)
    if not len(words.ids):
        return {}
    found: dict[tuple[str, bytes], tuple[Feature, Bools]] = {}
    for size, codes in _levels(words, late, least):
        firsts, lasts = words.ends()
        inside = lasts - firsts + 1 >= size
        everywhere = np.flatnonzero(codes >= 0)
        for kind, places in (
            ("prefix", firsts[inside]),
            ("suffix", lasts[inside] - size + 1),
            ("phrase", everywhere),
        ):
            for place, rows in _risen(words, codes, places, early, late, least):
                text = _text(shown[words.replies[place]], place - firsts[_number(firsts, place)], size)
                found[kind, np.packbits(rows).tobytes()] = (Feature(kind, text), rows)
    return dict(found.values())


def _number(firsts: NDArray[np.int64], place: int) -> int:
    return int(np.searchsorted(firsts, place, side="right")) - 1


def _text(reply: Shown, start: int, size: int) -> str:
    spans = [match.span() for match in WORDS.finditer(reply.text)]
    return reply.text[spans[start][0] : spans[start + size - 1][1]]


def _levels(words: Words, late: Bools, least: float) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """For 1, 2, ... words: the number of the run that begins at each place, -1 where it is rare in late replies."""
    single = codes = _frequent(words.ids, words, late, least)
    for size in range(1, LONGEST_SEED + 1):
        if not (codes >= 0).any():
            return
        yield size, codes
        longer = np.full_like(codes, -1)
        starts = np.arange(len(codes) - size)
        same = words.replies[starts] == words.replies[starts + size]
        starts = starts[same & (codes[starts] >= 0) & (codes[starts + 1] >= 0) & (single[starts + size] >= 0)]
        longer[starts] = codes[starts] * (int(single.max()) + 1) + single[starts + size]
        codes = _frequent(longer, words, late, least)


def _frequent(codes: NDArray[np.int64], words: Words, late: Bools, least: float) -> NDArray[np.int64]:
    """Codes numbered from 0, and -1 for those in less than a share ``least`` of late replies."""
    kept = np.flatnonzero(codes >= 0)
    result = np.full_like(codes, -1)
    if not len(kept):
        return result
    _, numbers = np.unique(codes[kept], return_inverse=True)
    pairs = _once(numbers * words.count + words.replies[kept])
    counts = np.bincount(pairs // words.count, late[pairs % words.count])
    often = counts >= least * max(int(late.sum()), 1)
    result[kept] = np.where(often[numbers], numbers, -1)
    return result


def _once(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each value once, in order. Sorting is faster here than the hashes of `numpy.unique`."""
    ordered = np.sort(values)
    return ordered[np.diff(ordered, prepend=ordered[0] - 1) != 0]


def _risen(
    words: Words, codes: NDArray[np.int64], places: NDArray[np.int64], early: Bools, late: Bools, least: float
) -> Iterator[tuple[int, Bools]]:
    """A place of each run that rises, and the replies that show it at one of ``places``."""
    places = places[codes[places] >= 0]
    pairs, index = np.unique(codes[places] * words.count + words.replies[places], return_index=True)
    runs, rows = pairs // words.count, pairs % words.count
    before = np.bincount(runs, early[rows]) / max(int(early.sum()), 1)
    after = np.bincount(runs, late[rows]) / max(int(late.sum()), 1)
    for run in np.flatnonzero(after - before >= least):
        start, stop = np.searchsorted(runs, [run, run + 1])
        mask = np.zeros(words.count, bool)
        mask[rows[start:stop]] = True
        yield int(places[index[start]]), mask


def whole(feature: Feature, shown: Sequence[Shown], rows: Bools, keep: float = 0.9, tries: int = 5) -> Feature:
    """The longest text around that of ``feature`` that nearly all of the same replies show.

    Args:
        feature: A prefix, suffix or phrase.
        shown: The replies.
        rows: [replies], those that show it.
        keep: Share of them that must show the longer text too.
        tries: Replies that the longer text is read from. The longest is taken.
    """
    own = [shown[row] for row in np.flatnonzero(rows).tolist()]
    if not own:
        return feature
    texts = [reply.marked for reply in own]
    least = keep * len(texts)
    grown = (
        _grown(feature, own[place], lambda text: _holders(feature.kind, text, texts) >= least)
        for place in range(0, len(own), max(1, len(own) // tries))
    )
    return max(grown, key=lambda found: len(WORDS.findall(found.value)))


def _holders(kind: str, text: str, texts: Sequence[str]) -> int:
    if kind == "prefix":
        return sum(other.startswith(text) for other in texts)
    return sum(other.endswith(text) if kind == "suffix" else text in other for other in texts)


def _grown(feature: Feature, reply: Shown, is_shared: Callable[[str], bool]) -> Feature:
    spans = [match.span() for match in WORDS.finditer(reply.text)]
    words = [reply.text[slice(*span)] for span in spans]
    size = len(WORDS.findall(feature.value))
    wanted = marked(WORDS.findall(feature.value))
    last = len(words) - size if feature.kind == "suffix" else 0
    start = last if feature.kind != "phrase" else reply.marked[: reply.marked.index(wanted)].count(MARK)
    stop = start + size
    if feature.kind != "suffix":
        stop += _most(len(words) - stop, lambda more: is_shared(marked(words[start : stop + more])))
    if feature.kind != "prefix":
        start -= _most(start, lambda more: is_shared(marked(words[start - more : stop])))
    text = reply.text[spans[start][0] : spans[stop - 1][1]]
    # The end of the sentence before is shown by the same replies, and says nothing.
    return Feature(feature.kind, text if feature.kind == "prefix" else SENTENCE_END.sub("", text))


def _most(limit: int, holds: Callable[[int], bool]) -> int:
    """The largest number up to ``limit`` that holds, where all below it do and 0 is known to."""
    high = 1
    while high <= limit and holds(high):
        high *= 2
    low, high = high // 2, min(high, limit + 1)
    return low + bisect.bisect_left(range(low + 1, high), True, key=lambda number: not holds(number))
