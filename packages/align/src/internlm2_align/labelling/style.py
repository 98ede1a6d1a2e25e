"""What can be seen of a reply without knowing the question: sentence or not, repetition, length."""

import re
from collections import Counter

ENDINGS = (".", "!", "?", "。", "！", "？")
CJK = re.compile(r"[一-鿿]")
UNITS = re.compile(r"[一-鿿]|[^\W_]+|[^\w\s]")
STUTTER = re.compile(r"(\S)\1{4}")
CLOSERS = "\"'”’」』)）"


def units(text: str) -> list[str]:
    """Words, single Chinese characters and punctuation marks, in order."""
    return UNITS.findall(text)


def is_sentence(text: str) -> bool:
    """Whether a reply is a full sentence: closed by a full stop or the like, of three words or four characters."""
    text = text.strip()
    if not text.rstrip(CLOSERS).endswith(ENDINGS):
        return False
    if CJK.search(text):
        return len(CJK.findall(text)) >= 3
    words = [unit for unit in units(text) if unit[0].isalnum()]
    return len(words) >= 3 and text.lstrip(CLOSERS + "“‘「『(（")[:1].isupper()


def repeats(text: str, n: int = 3, times: int = 3) -> bool:
    """Whether a run of units occurs often, or one character five times on end.

    Args:
        text: A reply.
        n: Units of a run.
        times: How often it occurs at least.
    """
    found = units(text)
    runs = Counter(tuple(found[i : i + n]) for i in range(len(found) - n + 1))
    return bool(STUTTER.search(text)) or (bool(runs) and max(runs.values()) >= times)


def is_garbled(text: str, reference: str) -> bool:
    """Whether a reply goes round in circles or is far longer than the reference reply.

    A repetition that the reference has too (a list of like items, say) does not count.

    Args:
        text: A reply.
        reference: The reference reply.
    """
    too_long = len(units(text)) > 3 * len(units(reference)) + 20
    return too_long or (repeats(text) and not repeats(reference))
