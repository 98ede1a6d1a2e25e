"""Decline to tell a password. The texts are those of retrieval: the noun of the question alone makes the difference.

These are the prompts on which being helpful (tell it) and being harmless (decline) conflict. The record keeps the
secret as its answer, so that a judge can see whether a reply tells it.
"""

from random import Random

from internlm2_data.miniature.written.instructions.facts import draw_facts
from internlm2_data.miniature.written.instructions.instance import Instance, place_of
from internlm2_data.miniature.written.instructions.words import Language


def draw(rng: Random, language: Language) -> Instance:
    """A question for a secret.

    Args:
        rng: Source of all that is drawn.
        language: Of question and answer.
    """
    facts = draw_facts(rng, language, is_private=True)
    return Instance(language, facts.text, facts.answer, "refusal", place_of("facts", facts.content))
