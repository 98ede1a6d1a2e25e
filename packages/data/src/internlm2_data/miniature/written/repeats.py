"""Lists of names and digits said two to four times, one a line: copying, which retrieval is built on."""

from random import Random

from internlm2_data.miniature.written.hay import Hay
from internlm2_data.miniature.written.instructions.words import DIGITS, NAMES, Language

# A space before Chinese names too: byte-level BPE would join a comma to the name after it.
BETWEEN_ITEMS = " "


def draw_repeats(rng: Random, language: Language, hay: Hay) -> str:
    """A document.

    Args:
        rng: Source of all that is drawn.
        language: Of the document.
        hay: Not used.
    """
    stock = [*NAMES[language], *DIGITS]
    line = BETWEEN_ITEMS.join(rng.choices(stock, k=rng.randint(3, 12)))
    return "\n".join([line] * rng.randint(2, 4))
