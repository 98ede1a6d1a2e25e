"""How a fact is worded. A needle question is a fact up to its value, so evaluation must use the same words.

    room Ann48.         asked: room Ann
    房间 小明48。        asked: 房间 小明

The name is directly before its value, without even a space: a model of a million weights finds what followed a
token before, and little else. The Chinese name keeps a space, so that byte-level BPE cuts it alike after every noun.
"""

from random import Random

from internlm2_data.miniature.written.instructions.words import DIGITS, Language

STATEMENT = {"en": "{noun} {name}{value}.", "zh": "{noun} {name}{value}。"}
QUESTION = {"en": "{noun} {name}", "zh": "{noun} {name}"}
BETWEEN_SENTENCES = {"en": " ", "zh": ""}
NOUNS = {
    "en": ["number", "code", "room", "seat", "score"],
    "zh": ["号码", "编号", "房间", "座位", "分数"],
}


def draw_value(rng: Random, digits: int) -> str:
    """Random digits.

    Args:
        rng: Source of all that is drawn.
        digits: Digits of the number.
    """
    return "".join(rng.choices(DIGITS, k=digits))


def state(language: Language, noun: str, name: str, value: str) -> str:
    """A fact as a sentence.

    Args:
        language: Of the sentence.
        noun: What is stated.
        name: Of whom.
        value: The number.
    """
    return STATEMENT[language].format(noun=noun, name=name, value=value)
