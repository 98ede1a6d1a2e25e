"""Say again what was given: two to five names or digits. An instance is its list."""

from random import Random

from internlm2_data.miniature.written.instructions.instance import Instance, place_of
from internlm2_data.miniature.written.instructions.items import draw_items
from internlm2_data.miniature.written.instructions.words import Language

WORDINGS = {"en": ("Repeat: {}", "Say again: {}", "Copy this: {}"), "zh": ("重复： {}", "请再说一遍： {}", "照抄： {}")}


def draw(rng: Random, language: Language) -> Instance:
    """A list to copy.

    Args:
        rng: Source of all that is drawn.
        language: Of question and answer.
    """
    _, text = draw_items(rng, language, 2, 5)
    return Instance(language, rng.choice(WORDINGS[language]).format(text), text, "exact", place_of("copying", text))
