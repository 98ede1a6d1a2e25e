"""Writing a pattern into a good reply, for pairs that show it where too few occurred."""

import random
from collections.abc import Callable, Mapping

from internlm2_align.online.features import WORDS, Feature

MARKDOWN: Mapping[str, Callable[[str], str]] = {
    "list": lambda text: "\n".join(f"- {line}" for line in text.splitlines()),
    "numbered list": lambda text: "\n".join(f"{number}. {line}" for number, line in enumerate(text.splitlines(), 1)),
    "heading": lambda text: f"# Answer\n{text}",
    "bold": lambda text: f"**{text.splitlines()[0]}**" + text[len(text.splitlines()[0]) :],
    "code block": lambda text: f"```\n{text}\n```",
    "emoji": lambda text: f"{text} 😀",
}


def with_feature(feature: Feature, text: str, rng: random.Random) -> str | None:
    """A reply that shows a feature, or None where no rule can write it (another language, say, or another answer).

    Args:
        feature: The feature.
        text: A reply without it.
        rng: Draws the place of a phrase.
    """
    text = text.strip()
    if feature.kind == "prefix":
        return _joined(feature.value, text)
    if feature.kind == "suffix":
        return _joined(text, feature.value)
    if feature.kind == "phrase":
        place = rng.choice([0, *(match.end() for match in WORDS.finditer(text))])
        return _joined(_joined(text[:place], feature.value), text[place:])
    if feature.kind == "format" and text:
        write = MARKDOWN.get(feature.value)
        return None if write is None else write(text)
    if feature.kind == "repeats" or feature == Feature("length", "long"):
        return " ".join([text] * 3)
    return None


def _joined(first: str, second: str) -> str:
    """One after the other, with a space where words of Latin script would grow together."""
    is_word = first[-1:].isalnum() and first[-1:].isascii() and second[:1].isalnum() and second[:1].isascii()
    after_mark = first[-1:] in set(".,!?;:") and second[:1].isalnum() and second[:1].isascii()
    return f"{first} {second}" if first and second and (is_word or after_mark) else first + second
