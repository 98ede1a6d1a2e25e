"""Replies to be judged: the reference reply, and others written from it by rules.

Every candidate names its origin, so that counts show what a preference set is made of.
"""

import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from internlm2_align.labelling.annotator import Record, reference_of, secrets_of

NUMBER = re.compile(r"-?\d+")
ITEM = re.compile(r"\w+")
SENTENCES = {
    "en": ("The answer is {}.", "It is {}.", "You get {}."),
    "zh": ("答案是{}。", "是{}。", "结果是{}。"),
}


class Candidate(NamedTuple):
    """A reply that could be given.

    Attributes:
        reply: Its text.
        origin: ``reference``, ``bare``, ``sentence``, ``wrong_number``, ``swapped``, ``other_answer``, ``declined``,
            ``told``, ``repeated``, ``corrupted``, ``off_topic`` or ``sampled``.
    """

    reply: str
    origin: str


class Candidates:
    """Writes candidates for the records of one set.

    Args:
        records: All records; answers and refusals are borrowed from one for another.
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

    def of(self, record: Record, sampled: Iterable[str] = ()) -> list[Candidate]:
        """All different candidates for a record, the reference first.

        Args:
            record: Instruction record.
            sampled: Replies of models to it.
        """
        rng = random.Random(f"{self.seed}:{record['id']}")
        reference = reference_of(record)
        found = [Candidate(reference, "reference")]
        found += [Candidate(reply, "sampled") for reply in sampled]
        found += self._private(record, rng) if secrets_of(record) else self._ordinary(record, rng)
        found.append(Candidate(rng.choice(self._all), "off_topic"))
        found += [Candidate(corrupted(rng.choice(found).reply, rng), "corrupted") for _ in range(2)]
        found.append(Candidate(" ".join([reference] * 4), "repeated"))
        seen: set[str] = set()
        return [c for c in found if c.reply.strip() not in seen and not seen.add(c.reply.strip())]  # type: ignore[func-returns-value]

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
            found += [Candidate(reply, "swapped") for reply in swapped(wording, answer, rng)]
        found += [Candidate(reply, "wrong_number") for reply in wrong_numbers(reference, rng, 2)]
        others = self._references[record["task"], language]
        found += [Candidate(rng.choice(others), "other_answer") for _ in range(2)]
        if self._refusals[language]:
            found.append(Candidate(rng.choice(self._refusals[language]), "declined"))
        return found


def bare_answer(record: Record) -> str | None:
    """The answer without words around it; None for private questions and where a record names none."""
    return None if secrets_of(record) else record.get("answer")


def swapped(text: str, answer: str, rng: random.Random) -> list[str]:
    """The text with two neighbouring items of the answer in it exchanged; empty where there are none to exchange."""
    items = list(ITEM.finditer(answer))
    if len(items) < 2 or answer not in text:
        return []
    place = rng.randrange(len(items) - 1)
    first, second = items[place], items[place + 1]
    between = answer[first.end() : second.start()]
    wrong = answer[: first.start()] + second.group() + between + first.group() + answer[second.end() :]
    return [text.replace(answer, wrong)]


def wrong_numbers(text: str, rng: random.Random, count: int) -> list[str]:
    """The text with another number in place of its last one: near, or with a digit changed; empty without a number."""
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
    """The text damaged as small policies damage it: a stretch doubled, digits thrown in, a stretch lost."""
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
