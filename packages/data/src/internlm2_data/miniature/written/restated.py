"""Documents whose facts are stated again and again, always with the same value.

    ... text. room Ann48. text. text. room Tom13. text. room Ann48. ...
                                                                    ^^ can be known

Every restatement is a question with its answer. A row of training data is a window that may begin and end anywhere in a
document, which is why facts are not all told first and asked last: a row would often hold only one of the two. The gap
between a fact and its return grows with the number of people and with the share of other text.
"""

from dataclasses import dataclass
from itertools import islice
from random import Random

from internlm2_data.miniature.written.facts import BETWEEN_SENTENCES, NOUNS, draw_value, state
from internlm2_data.miniature.written.hay import Hay
from internlm2_data.miniature.written.instructions.words import NAMES, Language


@dataclass(frozen=True)
class Restated:
    """Draws documents of one kind.

    Attributes:
        people: Fewest and most of them.
        sentences: Fewest and most sentences, facts and text together.
        text_share: How many of the sentences are text that people wrote.
        digits: Length of a value.

    Raises:
        ValueError: If a range is empty or asks for more people than there are, or a share is not in [0, 1].
    """

    people: tuple[int, int]
    sentences: tuple[int, int]
    text_share: float
    digits: int = 2

    def __post_init__(self) -> None:
        """Check the numbers."""
        most = min(map(len, NAMES.values()))
        if not 1 <= self.people[0] <= self.people[1] <= most:
            raise ValueError(f"people={self.people} must be a range within 1 to {most}.")
        if not 1 <= self.sentences[0] <= self.sentences[1]:
            raise ValueError(f"sentences={self.sentences} must be a range from 1 on.")
        if not 0 <= self.text_share < 1 or self.digits < 1:
            raise ValueError(f"text_share={self.text_share} must be in [0, 1), and digits={self.digits} above 0.")

    def draw(self, rng: Random, language: Language, hay: Hay) -> str:
        """A document."""
        facts = _draw_facts(rng, language, rng.randint(*self.people), self.digits)
        count = rng.randint(*self.sentences)
        text = iter(hay.draw(rng, language, count))
        drawn = [next(text) if rng.random() < self.text_share else rng.choice(facts) for _ in range(count)]
        return BETWEEN_SENTENCES[language].join(drawn)


@dataclass(frozen=True)
class Returning:
    """Draws documents that tell of everybody at once, and again in another order after a stretch of text, and so on.

    Where the stretch is about as long as a row, most rows hold two tellings that are nearly a row apart. Facts that are
    strewn over a document hardly ever return from so far: of all distances in a row, the longest are the rarest.

    Attributes:
        people: Fewest and most of them.
        stretch: Fewest and most sentences of text between two tellings.
        tellings: How often everybody is told of.
        digits: Length of a value.
    """

    people: tuple[int, int]
    stretch: tuple[int, int]
    tellings: int = 8
    digits: int = 2

    def draw(self, rng: Random, language: Language, hay: Hay) -> str:
        """A document."""
        facts = _draw_facts(rng, language, rng.randint(*self.people), self.digits)
        stretches = [rng.randint(*self.stretch) for _ in range(self.tellings)]
        text = iter(hay.draw(rng, language, sum(stretches)))
        drawn: list[str] = []
        for length in stretches:
            drawn += islice(text, length)
            drawn += rng.sample(facts, len(facts))
        return BETWEEN_SENTENCES[language].join(drawn)


def _draw_facts(rng: Random, language: Language, people: int, digits: int) -> list[str]:
    """One fact about each of as many people."""
    noun = rng.choice(NOUNS[language])
    return [state(language, noun, name, draw_value(rng, digits)) for name in rng.sample(NAMES[language], people)]
