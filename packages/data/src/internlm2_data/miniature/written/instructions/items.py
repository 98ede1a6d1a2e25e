"""Short lists of names or digits, which several tasks work on: "Ann Tom Eva", "小明 小红", "472"."""

from random import Random

from internlm2_data.miniature.written.instructions.words import DIGITS, NAMES, Language

# In Chinese too: byte-level BPE cuts a name alike after every space, and elsewhere joins it to its neighbour.
BETWEEN_NAMES = " "


def draw_items(rng: Random, language: Language, least: int, most: int) -> tuple[list[str], str]:
    """Different names of the language, or different digits.

    Args:
        rng: Source of all that is drawn.
        language: Of the names.
        least: Fewest items.
        most: Most items, inclusive.

    Returns:
        The items, and all of them in one text.
    """
    count = rng.randint(least, most)
    if rng.random() < 0.5:
        items, between = rng.sample(NAMES[language], count), BETWEEN_NAMES
    else:
        items, between = rng.sample(DIGITS, count), ""
    return items, between.join(items)
