"""Repetition inside a document (Gopher, appendix A.1.1, table A1).

Words are those of deduplication: letters and digits in lower case, characters in Chinese. So a change of case or
punctuation hides no repetition.
"""

from collections.abc import Sequence

from internlm2_data.page import Page


def duplicate_lines(lines: Sequence[str]) -> tuple[float, float]:
    """Share of lines, and of their characters, that occurred before in the same document."""
    if len(lines) < 2 or len(different := set(lines)) == len(lines):
        return 0.0, 0.0
    total = sum(map(len, lines))
    return 1 - len(different) / len(lines), 1 - sum(map(len, different)) / max(1, total)


def repeated_ngrams(page: Page, n: int) -> float:
    """Share of characters in repeated n-grams.

    For n of 2 to 4 in the occurrences of the most frequent one, 0 if none occurs twice. For 5 to 10 in all that
    occurred before, overlapping ones counted once.

    Args:
        page: The page.
        n: Tokens of an n-gram.
    """
    return float(page.repeated_ngrams[n])
