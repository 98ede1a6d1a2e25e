"""Repetition inside a document (Gopher, appendix A.1.1, table A1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from internlm2_data.page import Page


def duplicate_lines(lines: Sequence[str]) -> tuple[float, float]:
    """Share of lines, and of their characters, that occurred before in the same document."""
    if len(lines) < 2 or len(different := set(lines)) == len(lines):
        return 0.0, 0.0
    total = sum(map(len, lines))
    return 1 - len(different) / len(lines), 1 - sum(map(len, different)) / max(1, total)


def top_ngram(page: Page, n: int) -> float:
    """Share of characters in the occurrences of the most frequent n-gram of words.

    An n-gram that occurs once repeats nothing and counts 0.
    """
    grams, lengths = ngrams(page, n)
    if not grams.size:
        return 0.0
    _, first, counts = np.unique(grams, return_index=True, return_counts=True)
    most = int(counts.max())
    if most < 2:
        return 0.0
    at = int(first[counts == most].min())
    return most * int(lengths[at : at + n].sum()) / int(lengths.sum())


def duplicate_ngrams(page: Page, n: int) -> float:
    """Share of characters in n-grams of words that occurred before, overlapping ones counted once."""
    grams, lengths = ngrams(page, n)
    if not grams.size:
        return 0.0
    _, first = np.unique(grams, return_index=True)
    if first.size == grams.size:
        return 0.0
    starts = np.ones(grams.size, np.int64)
    starts[first] = 0
    # A word is covered when a repeated n-gram starts at it or at one of the n - 1 words before.
    edges = np.zeros(lengths.size + 1, np.int64)
    edges[: grams.size] += starts
    edges[n : n + grams.size] -= starts
    covered = np.cumsum(edges)[:-1] > 0
    return int(lengths[covered].sum()) / int(lengths.sum())


def ngrams(page: Page, n: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """A 64-bit number for each n-gram of the page's words [words - n + 1], and the words' lengths [words]."""
    numbers, lengths = word_numbers(page)
    count = numbers.size - n + 1
    if count < 1:
        return np.empty(0, np.uint64), lengths
    grams = numbers[:count].copy()
    for k in range(1, n):
        grams = grams * np.uint64(0x9E3779B97F4A7C15) + numbers[k : k + count]
    return grams, lengths


def word_numbers(page: Page) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Numbers that are equal exactly where words are, spread over 64 bits, and the words' lengths."""
    if (cached := page.__dict__.get("word_numbers")) is not None:
        return cached
    order: dict[str, int] = {}
    ids = np.fromiter((order.setdefault(word, len(order)) for word in page.words), np.uint64, len(page.words))
    ids = (ids + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
    lengths = np.fromiter(map(len, page.words), np.int64, len(page.words))
    page.__dict__["word_numbers"] = (ids ^ (ids >> np.uint64(29)), lengths)
    return page.__dict__["word_numbers"]
