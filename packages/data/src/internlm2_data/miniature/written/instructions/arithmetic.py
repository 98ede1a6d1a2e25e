"""Sums and differences of two one-digit numbers, no negative answers.

There are only 155 of them, and a model of a million weights learns them by heart. An instance is therefore operands in
a wording, and the same operands are trained on in other wordings. What is held out tells whether what was learnt in
some wordings is known in another, not whether sums never seen can be worked out.
"""

from random import Random

from internlm2_data.miniature.written.instructions.instance import Instance, place_of
from internlm2_data.miniature.written.instructions.words import LANGUAGES, Language

WORDINGS = {
    "en": {
        "+": ("{}+{}=?", "What is {}+{}?", "What is {} plus {}?"),
        "-": ("{}-{}=?", "What is {}-{}?", "What is {} minus {}?"),
    },
    "zh": {
        "+": ("{}+{}等于几？", "请算{}+{}。", "{}加{}是多少？"),
        "-": ("{}-{}等于几？", "请算{}-{}。", "{}减{}是多少？"),
    },
}
WORDINGS_PER_LANGUAGE = 3


def draw(rng: Random, language: Language) -> Instance:
    """A sum or a difference.

    Args:
        rng: Source of all that is drawn.
        language: Of question and answer.
    """
    sign, first, second = rng.choice("+-"), rng.randrange(10), rng.randrange(10)
    if sign == "-" and first < second:
        first, second = second, first
    wording = rng.randrange(WORDINGS_PER_LANGUAGE)
    question = WORDINGS[language][sign][wording].format(first, second)
    answer = first + second if sign == "+" else first - second
    return Instance(language, question, str(answer), "number", _place(f"{first}{sign}{second}", language, wording))


def _place(operation: str, language: Language, wording: int) -> float:
    """The wordings of an operation lie in different sixths, so a range of at most a half leaves some to train on."""
    wordings = len(LANGUAGES) * WORDINGS_PER_LANGUAGE
    number = LANGUAGES.index(language) * WORDINGS_PER_LANGUAGE + wording
    turn = int(place_of(operation) * wordings)
    return ((number + turn) % wordings + place_of(operation, language, str(wording))) / wordings
