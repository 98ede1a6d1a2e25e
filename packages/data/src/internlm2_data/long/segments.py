"""Neighbouring segments of a text."""

import re
from itertools import pairwise

# Behind it a sentence or a line begins.
_END = re.compile(r"[.!?]\s+|[。！？]\s*|\n\s*")


def segments(text: str, size_bytes: int) -> list[str]:
    """Runs of sentences and lines of at least `size_bytes` bytes. Joined they are the text.

    A rest of under half of that belongs to the last segment. A sentence longer than twice the size is cut.

    Args:
        text: The text.
        size_bytes: Bytes of a segment, UTF-8.
    """
    found: list[str] = []
    part, size = "", 0
    for unit in _units(text, size_bytes):
        part, size = part + unit, size + len(unit.encode("utf-8", "replace"))
        if size >= size_bytes:
            found.append(part)
            part, size = "", 0
    if found and size < size_bytes // 2:
        found[-1] += part
    elif part:
        found.append(part)
    return found


def _units(text: str, size_bytes: int) -> list[str]:
    cut = max(1, 2 * size_bytes)
    ends = [0, *(match.end() for match in _END.finditer(text)), len(text)]
    units = (text[start:stop] for start, stop in pairwise(ends))
    return [unit[i : i + cut] for unit in units for i in range(0, len(unit), cut)]
