"""Three or four different digits, to be put in ascending order. An instance is the set of digits in any order."""

from random import Random

from internlm2_data.miniature.written.instructions.instance import Instance, place_of
from internlm2_data.miniature.written.instructions.words import DIGITS, Language

WORDINGS = {
    "en": ("Sort: {}", "Put in order: {}", "Smallest first: {}"),
    "zh": ("排序： {}", "从小到大： {}", "请排好： {}"),
}


def draw(rng: Random, language: Language) -> Instance:
    """Digits to sort.

    Args:
        rng: Source of all that is drawn.
        language: Of question and answer.
    """
    digits = rng.sample(DIGITS, rng.randint(3, 4))
    answer = "".join(sorted(digits))
    question = rng.choice(WORDINGS[language]).format("".join(digits))
    return Instance(language, question, answer, "exact", place_of("sorting", answer))
