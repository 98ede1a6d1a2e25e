"""What the rules for code measure (after Codex, arXiv 2107.03374, and StarCoder, arXiv 2305.06161)."""

import re

from internlm2_data.page import Page

_GENERATED = re.compile(
    r"auto[- ]?generated|generated (by|from|automatically)|do not (edit|modify)|@generated|machine generated",
    re.IGNORECASE,
)
_ENCODED = re.compile(r"[A-Za-z0-9+/=]{80,}|(?:\\x[0-9a-fA-F]{2}){16,}|(?:0x[0-9a-fA-F]{1,8},\s*){16,}")
DATA_LANGUAGES = frozenset({"json", "yaml", "toml", "ini", "html", "css", "sql"})


def size(page: Page) -> float:
    """UTF-8 bytes."""
    return page.document.num_bytes


def generated(page: Page) -> float:
    """Whether one of the first five lines says that a program wrote the file."""
    return float(any(_GENERATED.search(line) for line in page.lines[:5]))


def longest_line(page: Page) -> float:
    """Characters of the longest line."""
    return max(map(len, page.lines), default=0)


def mean_line(page: Page) -> float:
    """Mean characters of a line."""
    return sum(map(len, page.lines)) / max(1, len(page.lines))


def alphanumeric(page: Page) -> float:
    """Share of characters that are letters or digits, of those that are not white space."""
    return sum(n for c, n in page.counts.items() if c.isalnum()) / max(1, page.characters)


def data_bytes(page: Page) -> float:
    """Bytes of a file in a language of data or markup, 0 for others."""
    return page.document.num_bytes if page.document.language in DATA_LANGUAGES else 0


def encoded(page: Page) -> float:
    """Share of characters in encoded blobs."""
    return sum(len(found.group()) for found in _ENCODED.finditer(page.text)) / max(1, len(page.text))


CODE_MEASURES = {
    "code.bytes": size,
    "code.generated": generated,
    "code.longest_line": longest_line,
    "code.mean_line": mean_line,
    "code.alphanumeric": alphanumeric,
    "code.data_bytes": data_bytes,
    "code.encoded": encoded,
}
