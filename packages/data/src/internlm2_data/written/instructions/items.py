"""Short lists of words or digits, which several tasks work on."""

from __future__ import annotations

from random import Random

from internlm2_data.written.instructions.words import DIGITS, WORDS, Language


def draw_items(rng: Random, language: Language, least: int, most: int) -> list[str]:
    """Different words of the language, or different digits.

    Args:
        rng: chooses.
        language: of the words.
        least: fewest items.
        most: most items, inclusive.
    """
    stock = rng.choice((WORDS[language], list(DIGITS)))
    return rng.sample(stock, rng.randint(least, most))
