"""What a reply shows: how it begins and ends, which phrases it holds, whether it is long or goes round in circles."""

from collections.abc import Sequence
from typing import NamedTuple

from internlm2_align.labelling.style import repeats

LENGTHS = (2, 3, 4, 6, 8)
"""Characters of the prefixes, suffixes and phrases that are looked at."""


class Feature(NamedTuple):
    """Something that a reply shows or not.

    Attributes:
        kind: ``prefix``, ``suffix``, ``phrase``, ``repeats`` or ``long``.
        value: The text of a prefix, suffix or phrase. Empty for the others.
    """

    kind: str
    value: str = ""


def features_of(text: str, long_characters: float) -> set[Feature]:
    """All features of a reply.

    Args:
        text: The reply.
        long_characters: From this length on it is ``long``.
    """
    text = text.strip()
    found: set[Feature] = set()
    for length in LENGTHS:
        if len(text) >= length:
            found |= {Feature("prefix", text[:length]), Feature("suffix", text[-length:])}
            found |= {Feature("phrase", text[i : i + length]) for i in range(len(text) - length + 1)}
    if repeats(text):
        found.add(Feature("repeats"))
    if len(text) >= long_characters:
        found.add(Feature("long"))
    return found


def long_from(texts: Sequence[str], quantile: float = 0.95) -> float:
    """Length in characters that few of these replies reach.

    Args:
        texts: The replies.
        quantile: Share of them that is shorter.
    """
    lengths = sorted(len(text.strip()) for text in texts)
    return lengths[min(len(lengths) - 1, int(quantile * len(lengths)))] + 1 if lengths else float("inf")
