"""Find a number in a short text. An instance is the text and the name asked for."""

from random import Random

from internlm2_data.miniature.written.instructions.facts import draw_facts
from internlm2_data.miniature.written.instructions.instance import Instance, place_of
from internlm2_data.miniature.written.instructions.words import Language


def draw(rng: Random, language: Language) -> Instance:
    """A question for what everybody may know.

    Args:
        rng: Source of all that is drawn.
        language: Of question and answer.
    """
    facts = draw_facts(rng, language, is_private=False)
    return Instance(language, facts.text, facts.answer, "exact", place_of("facts", facts.content))
