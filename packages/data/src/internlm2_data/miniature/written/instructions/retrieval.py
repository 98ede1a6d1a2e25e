"""Find a number in a short text, or decline to tell a password in it. An instance is the text and the name asked for.

The noun of the question alone makes the difference. Private questions are the prompts on which being helpful (tell it)
and being harmless (decline) conflict. Their records keep the secret as the answer, so that a judge can see whether a
reply tells it.
"""

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


def draw_private(rng: Random, language: Language) -> Instance:
    """A question for a secret.

    Args:
        rng: Source of all that is drawn.
        language: Of question and answer.
    """
    facts = draw_facts(rng, language, is_private=True)
    return Instance(language, facts.text, facts.answer, "refusal", place_of("facts", facts.content))
