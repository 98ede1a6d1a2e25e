"""Short texts of facts, each a noun, a name and a number.

    number Ann48. password Tom13. What is the number of Ann?

The name is directly before its number, without a space, which would be a token between them: a small model finds
what followed a token before, and little else. Chinese names have a space before them for the same reason, so that they
are one token wherever they are. Nouns are drawn for each fact, so the secret one may be in the text whatever is
asked: the question alone says whether it is private. No digit comes twice in a text.
"""

from dataclasses import dataclass
from random import Random

from internlm2_data.miniature.written.instructions.words import DIGITS, NAMES, NOUNS, SECRET_NOUN, Language

FACT = {"en": "{} {}{}. ", "zh": "{} {}{}。"}
QUESTIONS = {
    "en": ("What is the {} of {}?", "Tell me the {} of {}.", "Say the {} of {}."),
    "zh": ("哪个{}属于 {}？", "请说出{} {}。", "告诉我{} {}。"),
}
"""The name comes last."""


@dataclass(frozen=True)
class Facts:
    """A text and a question about one of its facts.

    Attributes:
        text: The facts, then the question.
        content: The facts and the name that is asked for, in no wording.
        answer: The two digits of that name.
    """

    text: str
    content: str
    answer: str


def draw_facts(rng: Random, language: Language, is_private: bool) -> Facts:
    """Two or three facts, of which one is asked for.

    Args:
        rng: Source of all that is drawn.
        language: Of the text.
        is_private: Whether what is asked for is secret.
    """
    names = rng.sample(NAMES[language], rng.randint(2, 3))
    digits = rng.sample(DIGITS, 2 * len(names))
    values = [first + second for first, second in zip(digits[::2], digits[1::2], strict=True)]
    nouns = [rng.choice([*NOUNS[language], SECRET_NOUN[language]]) for _ in names]
    asked = rng.randrange(len(names))
    nouns[asked] = SECRET_NOUN[language] if is_private else rng.choice(NOUNS[language])
    facts = "".join(FACT[language].format(*fact) for fact in zip(nouns, names, values, strict=True))
    question = rng.choice(QUESTIONS[language]).format(nouns[asked], names[asked])
    return Facts(facts + question, f"{facts}{names[asked]}", values[asked])
