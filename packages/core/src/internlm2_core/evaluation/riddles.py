"""What is hidden in a long text, and how it is asked for: facts, facts in other words, chains, and counting.

===========  ==========================================================================================
`Facts`      several facts, and a question for some of them: one needle, many, or many values of one name
`Unlike`     a fact whose question shares no word with it (NoLiMa, arXiv 2502.05167)
`Chains`     variables that are set to each other (variable tracking of RULER, arXiv 2404.06654)
`Count`      one sentence, several times
===========  ==========================================================================================

The wording is given, so that there is one kind for all languages. A question is a beginning that the model continues.
"""

import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

LEADING_NUMBER = re.compile(r"\s*(\d+)")
WORD = re.compile(r"[\u4e00-\u9fff]|[^\W\u4e00-\u9fff]+")
"""A Chinese character, or a word of other letters."""


@dataclass(frozen=True)
class Riddle:
    """Facts to hide, and what is asked.

    Attributes:
        facts: Sentences. The first is what is placed at a given depth.
        question: The end of the prompt.
        expected: What a right answer holds.
        in_order: Whether the facts must come in this order.
        is_number: Whether the answer must begin with what is expected.
    """

    facts: Sequence[str]
    question: str
    expected: Sequence[str]
    in_order: bool = False
    is_number: bool = False

    def score(self, answer: str) -> float:
        """Share of what is expected that occurs in an answer, as RULER counts it, but not inside a longer word."""
        if self.is_number:
            found = LEADING_NUMBER.match(answer)
            return float(found is not None and found[1] == self.expected[0])
        occurrences = [
            re.search(rf"(?<![A-Za-z0-9]){re.escape(part)}(?![A-Za-z0-9])", answer, re.I) for part in self.expected
        ]
        return sum(map(bool, occurrences)) / len(self.expected)


class RiddleMaker(Protocol):
    """One kind of riddle in one language."""

    def make(self, rng: random.Random) -> Riddle:
        """Another riddle."""


@dataclass(frozen=True)
class Facts:
    """Facts about names, and a question for the values of some of them.

    Attributes:
        statement: A fact, with ``{noun}``, ``{name}`` and ``{value}``.
        question: With ``{noun}`` and ``{names}``.
        nouns: What facts are about.
        names: Whom they are about.
        told: How many names have facts.
        asked: How many of them are asked for.
        values: Facts of each name.
        digits: Digits of a value.
        joiner: Put between the names of a question.

    Raises:
        ValueError: If more is asked for than there is.
    """

    statement: str
    question: str
    nouns: Sequence[str]
    names: Sequence[str]
    told: int = 1
    asked: int = 1
    values: int = 1
    digits: int = 5
    joiner: str = ", "

    def __post_init__(self) -> None:
        if not 1 <= self.asked <= self.told <= len(self.names):
            raise ValueError(
                f"asked={self.asked} must be from 1 to told={self.told}, and that at most {len(self.names)} names."
            )

    def make(self, rng: random.Random) -> Riddle:
        """Facts about one noun."""
        noun, names = rng.choice(list(self.nouns)), rng.sample(list(self.names), self.told)
        values = {name: [digits(rng, self.digits) for _ in range(self.values)] for name in names}
        asked = names[: self.asked]
        facts = [self.statement.format(noun=noun, name=name, value=value) for name in names for value in values[name]]
        question = self.question.format(noun=noun, names=self.joiner.join(asked))
        return Riddle(facts, question, [value for name in asked for value in values[name]])


@dataclass(frozen=True)
class Unlike:
    """A fact whose question shares no word with it: it is found by what it means alone.

    Attributes:
        pairs: ``statement`` with ``{name}``, and the ``question`` that is answered by the name.
        names: Whom facts are about.
        told: How many facts there are. The others are of other pairs and about other names.

    Raises:
        ValueError: If a pair shares a word, or there are fewer pairs or names than facts.
    """

    pairs: Sequence[Mapping[str, str]]
    names: Sequence[str]
    told: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.told <= min(len(self.pairs), len(self.names)):
            raise ValueError(f"told={self.told} must be from 1 to {min(len(self.pairs), len(self.names))}.")
        for pair in self.pairs:
            both = words(pair["statement"].format(name="")) & words(pair["question"])
            if both:
                raise ValueError(f"pairs={dict(pair)} must not share a word, and share {sorted(both)}.")

    def make(self, rng: random.Random) -> Riddle:
        """One pair is asked, the others are told beside it."""
        pairs, names = rng.sample(list(self.pairs), self.told), rng.sample(list(self.names), self.told)
        facts = [pair["statement"].format(name=name) for pair, name in zip(pairs, names, strict=True)]
        return Riddle(facts, pairs[0]["question"], names[:1])


@dataclass(frozen=True)
class Chains:
    """Variables that are set to each other. All that have one value are asked for.

    Attributes:
        first: The first of a chain, with ``{name}`` and ``{value}``.
        then: Each that follows, with ``{name}`` and ``{before}``.
        question: With ``{value}``.
        hops: Variables after the first.
        chains: How many there are. One of them is asked for.
        letters: Letters of a name.
        digits: Digits of a value.
    """

    first: str
    then: str
    question: str
    hops: int = 4
    chains: int = 2
    letters: int = 5
    digits: int = 5

    def make(self, rng: random.Random) -> Riddle:
        """Chains that are mixed, each in its own order."""
        names: list[str] = []
        while len(names) < self.chains * (self.hops + 1):
            name = "".join(rng.choices(string.ascii_uppercase, k=self.letters))
            names += [name] * (name not in names)
        values = [digits(rng, self.digits) for _ in range(self.chains)]
        told = [self._told(names[number :: self.chains], value) for number, value in enumerate(values)]
        facts = [chain[place] for place in range(self.hops + 1) for chain in told]
        return Riddle(facts, self.question.format(value=values[0]), names[:: self.chains], in_order=True)

    def _told(self, names: Sequence[str], value: str) -> list[str]:
        later = [self.then.format(name=name, before=before) for before, name in pairwise(names)]
        return [self.first.format(name=names[0], value=value), *later]


@dataclass(frozen=True)
class Count:
    """One sentence several times. How often is asked.

    Attributes:
        statement: The sentence.
        question: What is continued by a number.
        most: It comes 1 to so many times.
    """

    statement: str
    question: str
    most: int = 9

    def make(self, rng: random.Random) -> Riddle:
        """Any number of times is as likely."""
        times = rng.randint(1, self.most)
        return Riddle([self.statement] * times, self.question, [str(times)], is_number=True)


def digits(rng: random.Random, count: int) -> str:
    """Random digits.

    Args:
        rng: Chooses them.
        count: How many.
    """
    return "".join(rng.choices(string.digits, k=count))


def words(text: str) -> set[str]:
    """Words of a text in small letters. Of Chinese, its characters."""
    return set(WORD.findall(text.casefold()))
