"""Prompts that hide facts in held-out text.

    hay hay hay. FACT hay hay hay hay. distractor hay hay. QUESTION
    |<- depth ->|                                         |-> the answer's digits
    |<------------------- length tokens in all, answer included ------------>|

Sentences are encoded one by one with the separator before them, as byte-level BPE would cut the whole text. Their ids
are then joined. Every prompt of a length has exactly as many tokens, so a batch needs no padding.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from internlm2_core.evaluation.haystack import Haystack
from internlm2_core.text import Tokenizer


@dataclass(frozen=True)
class Prompt:
    """One question.

    Attributes:
        ids: The tokens to be continued.
        question: Its text.
        value: The digits that should follow.
    """

    ids: list[int]
    question: str
    value: str


class Hay:
    """Sentences of held-out text as token ids, and prompts made of them.

    Args:
        haystack: Where the text comes from.
        tokenizer: The model's.
    """

    def __init__(self, haystack: Haystack, tokenizer: Tokenizer) -> None:
        self.separator, self.tokenizer = haystack.separator, tokenizer
        self.pieces = [self.encode(sentence) for sentence in haystack.sentences(tokenizer)]

    @property
    def num_tokens(self) -> int:
        """Tokens of all sentences. They are repeated where a prompt is longer."""
        return sum(map(len, self.pieces))

    def encode(self, sentence: str) -> list[int]:
        """Ids of a sentence with the separator before it."""
        return self.tokenizer.encode(self.separator + sentence)

    def prompt(
        self,
        length: int,
        room: int,
        facts: Sequence[str],
        depths: Sequence[float],
        question: str,
        rng: random.Random,
    ) -> list[int]:
        """Exactly ``length - room`` tokens of hay with facts in it and the question at the end.

        Args:
            length: Tokens of prompt and answer.
            room: Tokens of the answer.
            facts: Sentences that are hidden.
            depths: Share of the hay before each. At equal places, facts keep their order.
            question: The end.
            rng: Chooses the hay.

        Raises:
            ValueError: If facts and question alone are longer.
        """
        told, asked, begin = [self.encode(fact) for fact in facts], self.encode(question), list(self.tokenizer.begin)
        budget = length - room - sum(map(len, told)) - len(begin) - len(asked)
        if budget < 0:
            raise ValueError(
                f"lengths={length} must be at least {length - budget} tokens, which the facts, the question and the "
                "answer take."
            )
        pieces = plant(self._some(budget, rng), told, depths)
        return [*begin, *(id_ for piece in pieces for id_ in piece), *asked]

    def _some(self, tokens: int, rng: random.Random) -> list[list[int]]:
        """Neighbouring sentences of exactly so many tokens, cut at their beginning. The first follows the last."""
        place, pieces = rng.randrange(len(self.pieces)), []
        while tokens > 0:
            pieces.append(self.pieces[place % len(self.pieces)])
            tokens -= len(pieces[-1])
            place += 1
        return without_first(pieces, -tokens)


class PromptMaker:
    """Makes prompts with one fact that is asked for, of one language and for one tokenizer.

    Args:
        haystack: Hay and wording.
        tokenizer: The model's.
        digits: Digits of a value.
        distractors: Further facts about other names in the same prompt.

    Raises:
        ValueError: If there are fewer names than facts.
    """

    def __init__(self, haystack: Haystack, tokenizer: Tokenizer, digits: int, distractors: int) -> None:
        if len(haystack.names) < distractors + 1:
            raise ValueError(
                f"distractors={distractors} must be below the number of names, {len(haystack.names)}: "
                "each fact has another name."
            )
        self.haystack, self.digits, self.distractors = haystack, digits, distractors
        self.hay = Hay(haystack, tokenizer)

    def make(self, length: int, depth: float, rng: random.Random) -> Prompt:
        """A prompt that leaves room for its answer in ``length`` tokens.

        Args:
            length: Tokens of prompt and answer.
            depth: 0 hides the fact at the beginning, 1 just before the question.
            rng: Chooses everything else.

        Raises:
            ValueError: If the facts and the question alone are longer.
        """
        hay = self.haystack
        noun, names = rng.choice(list(hay.nouns)), rng.sample(list(hay.names), self.distractors + 1)
        values = ["".join(rng.choices("0123456789", k=self.digits)) for _ in names]
        told = zip(names, values, strict=True)
        facts = [hay.statement.format(noun=noun, name=name, value=value) for name, value in told]
        question = hay.question.format(noun=noun, name=names[0])
        depths = [depth, *(rng.random() for _ in names[1:])]
        ids = self.hay.prompt(length, self.answer_tokens, facts, depths, question, rng)
        return Prompt(ids, question, values[0])

    @cached_property
    def answer_tokens(self) -> int:
        """Tokens of an answer, and one more."""
        return len(self.hay.encode("0" * self.digits)) + 1


def without_first(pieces: list[list[int]], tokens: int) -> list[list[int]]:
    """Pieces without some tokens at their beginning.

    Args:
        pieces: Lists of token ids.
        tokens: How many tokens are cut.
    """
    kept = list(pieces)
    while tokens > 0:
        first = kept.pop(0)
        if len(first) > tokens:
            kept.insert(0, first[tokens:])
        tokens -= len(first)
    return kept


def plant(hay: list[list[int]], facts: Sequence[list[int]], depths: Sequence[float]) -> list[list[int]]:
    """Put facts between sentences, each at the boundary nearest to its depth.

    Args:
        hay: Sentences as ids.
        facts: Facts as ids.
        depths: Place of each fact, as a share of the hay's tokens. At equal places, facts keep their order.
    """
    bounds = [0]
    for piece in hay:
        bounds.append(bounds[-1] + len(piece))
    nearest = [min(range(len(bounds)), key=lambda b, d=depth: abs(bounds[b] - d * bounds[-1])) for depth in depths]  # type: ignore[misc]
    pieces: list[list[int]] = []
    for bound in range(len(bounds)):
        pieces += [fact for fact, place in zip(facts, nearest, strict=True) if place == bound]
        pieces += hay[bound : bound + 1]
    return pieces
