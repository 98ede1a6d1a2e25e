"""Replies written by rules from the reference reply of a toy record.

The better side of a pair may be ``reference``, ``sampled``, ``bare``, ``sentence`` or ``told``. The other origins are
``wrong_number``, ``swapped``, ``other_answer``, ``declined``, ``repeated``, ``corrupted`` and ``off_topic``.
"""

import random
import re
from collections import defaultdict
from collections.abc import Sequence

from internlm2_align.labelling.candidates import Candidate, distinct, given
from internlm2_align.labelling.instructions import Record, reference_of
from internlm2_align.miniature.annotator import secrets_of

NUMBER = re.compile(r"-?\d+")
ITEM = re.compile(r"\w+")
SENTENCES = {
    "en": ("The answer is {}.", "It is {}.", "You get {}."),
    "zh": ("答案是{}。", "是{}。", "结果是{}。"),
}


class WrittenCandidates:
    """A writer of candidates for the records of one set.

    Args:
        records: All records. Answers and refusals are borrowed from one for another.
        seed: Of what is drawn.
    """

    def __init__(self, records: Sequence[Record], seed: int = 1) -> None:
        self.seed = seed
        self._references: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._refusals: dict[str, list[str]] = defaultdict(list)
        self._all = [reference_of(record) for record in records]
        for record in records:
            reply = reference_of(record)
            self._references[record["task"], record["language"]].append(reply)
            if secrets_of(record):
                self._refusals[record["language"]].append(reply)

    def __call__(self, record: Record, sampled: Sequence[str] = ()) -> list[Candidate]:
        """All different candidates for a record, the reference first.

        Args:
            record: Instruction record.
            sampled: Replies of models to it.
        """
        rng = random.Random(f"{self.seed}:{record['id']}")
        reference = reference_of(record)
        found = [Candidate(reference, "reference"), *given(sampled)]
        found += self._private(record, rng) if secrets_of(record) else self._ordinary(record, rng)
        found.append(Candidate(rng.choice(self._all), "off_topic", may_win=False))
        found += [Candidate(corrupted(rng.choice(found).reply, rng), "corrupted", may_win=False) for _ in range(2)]
        found.append(Candidate(" ".join([reference] * 4), "repeated", may_win=False))
        return distinct(found)

    def _private(self, record: Record, rng: random.Random) -> list[Candidate]:
        secret = rng.choice(secrets_of(record))
        told = rng.choice(SENTENCES[record["language"]]).format(secret)
        return [Candidate(told, "told"), Candidate(secret, "told")]

    def _ordinary(self, record: Record, rng: random.Random) -> list[Candidate]:
        reference, language = reference_of(record), record["language"]
        found = []
        answer = bare_answer(record)
        if answer is not None:
            found.append(Candidate(answer, "bare"))
            if len(answer) <= 40:
                found.append(Candidate(rng.choice(SENTENCES[language]).format(answer), "sentence"))
            wording = rng.choice(found).reply
            found += [Candidate(reply, "swapped", may_win=False) for reply in swapped(wording, answer, rng)]
        found += [Candidate(reply, "wrong_number", may_win=False) for reply in wrong_numbers(reference, rng, 2)]
        others = self._references[record["task"], language]
        found += [Candidate(rng.choice(others), "other_answer", may_win=False) for _ in range(2)]
        if self._refusals[language]:
            found.append(Candidate(rng.choice(self._refusals[language]), "declined", may_win=False))
        return found


def bare_answer(record: Record) -> str | None:
    """The answer without words around it, or None for private questions and where a record names none."""
    return None if secrets_of(record) else record.get("answer")


def swapped(text: str, answer: str, rng: random.Random) -> list[str]:
    """The text with two neighbouring items of the answer in it exchanged. Empty where there are none to exchange.

    Args:
        text: A reply.
        answer: The answer in it.
        rng: Draws the items.
    """
    items = list(ITEM.finditer(answer))
    if len(items) < 2 or answer not in text:
        return []
    place = rng.randrange(len(items) - 1)
    first, second = items[place], items[place + 1]
    between = answer[first.end() : second.start()]
    wrong = answer[: first.start()] + second.group() + between + first.group() + answer[second.end() :]
    return [text.replace(answer, wrong)]


def wrong_numbers(text: str, rng: random.Random, count: int) -> list[str]:
    """The text with another number in place of its last one: near, or with a digit changed. Empty without a number.

    Args:
        text: A reply.
        rng: Draws the numbers.
        count: Texts wanted.
    """
    places = list(NUMBER.finditer(text))
    if not places:
        return []
    last = places[-1]
    value = int(last.group())
    digits = max(1, len(last.group().lstrip("-")))
    wrong: list[str] = []
    while len(wrong) < count:
        step = rng.choice((1, 2, 10 ** rng.randrange(digits), rng.randint(1, 9) * 10 ** rng.randrange(digits)))
        other = str(value + rng.choice((-step, step)))
        wrong.append(text[: last.start()] + other + text[last.end() :])
    return wrong


def corrupted(text: str, rng: random.Random) -> str:
    """The text damaged as small policies damage it: a stretch doubled, digits thrown in, a stretch lost.

    Args:
        text: A reply.
        rng: Draws the damage.
    """
    if not text:
        return text
    start = rng.randrange(len(text))
    stop = min(len(text), start + rng.randint(1, 6))
    damage = rng.choice(("double", "digits", "lose"))
    if damage == "double":
        return text[:stop] + text[start:stop] * rng.randint(1, 2) + text[stop:]
    if damage == "digits":
        digits = rng.choice("0123456789") * rng.randint(1, 4) + rng.choice(("", str(rng.randint(0, 99))))
        return text[:start] + digits + text[start:]
    return text[:start] + text[stop:]
