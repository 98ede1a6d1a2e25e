"""Exercises in sums and differences of one-digit numbers, worked out: the miniature's STEM documents (report 3.3.3)."""

from random import Random

from internlm2_data.miniature.written.hay import Hay
from internlm2_data.miniature.written.instructions.words import Language

EXERCISES = {"en": "Exercises in {}.", "zh": "{}练习。"}
SUBJECTS = {"en": {"+": "addition", "-": "subtraction"}, "zh": {"+": "加法", "-": "减法"}}
WORDS = {"en": {"+": "plus", "-": "minus", "=": "is"}, "zh": {"+": "加", "-": "减", "=": "等于"}}
BETWEEN_WORDS = {"en": " ", "zh": ""}
END = {"en": ".", "zh": "。"}


def draw_sums(rng: Random, language: Language, hay: Hay) -> str:
    """A document: a heading, then 6 to 20 exercises in signs or in words.

    Args:
        rng: Source of all that is drawn.
        language: Of the document.
        hay: Not used.
    """
    sign, in_words = rng.choice("+-"), rng.random() < 0.3
    lines = [EXERCISES[language].format(SUBJECTS[language][sign])]
    for _ in range(rng.randint(6, 20)):
        first, second = rng.randrange(10), rng.randrange(10)
        if sign == "-" and first < second:
            first, second = second, first
        result = first + second if sign == "+" else first - second
        lines.append(_exercise(first, sign, second, result, language, in_words))
    return "\n".join(lines)


def _exercise(first: int, sign: str, second: int, result: int, language: Language, in_words: bool) -> str:
    if not in_words:
        return f"{first}{sign}{second}={result}"
    words = WORDS[language]
    return BETWEEN_WORDS[language].join([str(first), words[sign], str(second), words["="], str(result)]) + END[language]
