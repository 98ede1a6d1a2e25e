"""Parts of items that are looked for, and the weights of their tokens."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from internlm2_data.compiled.matching import SEED
from internlm2_data.decontamination.items import EvaluationItem
from internlm2_data.decontamination.settings import MatchSettings
from internlm2_data.word_index import Words

Kind = Literal["question", "answer", "both"]
# Signs of scripts without spaces: two count as a word.
_SIGN = re.compile(r"[\u0e00-\u0e7f\u2e80-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


@dataclass(frozen=True, slots=True)
class Part:
    """A text to look for.

    Attributes:
        kind: What of an item it is. "both" is a question too short to be told from others, with options and answer.
        text: The text.
        items: Numbers of the items that have it, in these words.
    """

    kind: Kind
    text: str
    items: tuple[int, ...]

    @property
    def item(self) -> int:
        """The first of them."""
        return self.items[0]


@dataclass(frozen=True)
class Weighed:
    """Tokens of parts, end to end.

    Attributes:
        tokens: Hashes, uint64 [tokens].
        extents: Where each part's tokens begin, and the end, int64 [parts + 1].
        weights: Of each token: 1 where one item has it, 0 where all have it, float64 [tokens].
    """

    tokens: npt.NDArray[np.uint64]
    extents: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    def of(self, number: int) -> npt.NDArray[np.uint64]:
        """Tokens of one part."""
        return self.tokens[self.extents[number] : self.extents[number + 1]]

    @property
    def totals(self) -> npt.NDArray[np.float64]:
        """Weight of each part."""
        sums = np.concatenate([[0.0], np.cumsum(self.weights)])
        return sums[self.extents[1:]] - sums[self.extents[:-1]]


def words(text: str, tokens: int) -> float:
    """Number of words, two signs of a script without spaces counted as one.

    Args:
        text: A text.
        tokens: Number of its tokens, of which a sign is one.
    """
    return tokens - len(_SIGN.findall(text)) / 2


def chosen_parts(items: Sequence[EvaluationItem], settings: MatchSettings) -> tuple[list[Part], Weighed]:
    """The parts that say enough to be looked for.

    Args:
        items: All items.
        settings: What is enough.
    """
    every = [part for number, item in enumerate(items) for part in _parts(number, item)]
    weighed = _weigh(every, len(items))
    sizes, totals = np.diff(weighed.extents).tolist(), weighed.totals.tolist()
    least = {"question": settings.question_words, "both": settings.question_words, "answer": settings.answer_words}
    enough = [
        words(part.text, size) >= least[part.kind] and total >= settings.distinct and size >= SEED
        for part, size, total in zip(every, sizes, totals, strict=True)
    ]
    told = {part.item for part, good in zip(every, enough, strict=True) if good and part.kind == "question"}
    kept = [
        number for number, (part, good) in enumerate(zip(every, enough, strict=True))
        if good and not (part.kind == "both" and part.item in told)
    ]  # fmt: skip
    groups: dict[bytes, list[int]] = {}
    for number in kept:
        groups.setdefault(weighed.of(number).tobytes(), []).append(number)
    firsts = [group[0] for group in groups.values()]
    parts = [
        replace(every[group[0]], items=tuple(dict.fromkeys(every[number].item for number in group)))
        for group in groups.values()
    ]
    return parts, _selected(weighed, firsts)


def _parts(number: int, item: EvaluationItem) -> Iterator[Part]:
    yield Part("question", item.question, (number,))
    answers = item.answers
    for answer in answers:
        yield Part("answer", answer, (number,))
    rest = " ".join([item.options, *answers[:1]]).strip()
    if rest:
        yield Part("both", f"{item.question} {rest}", (number,))


def _weigh(parts: Sequence[Part], items: int) -> Weighed:
    """Weights fall with the logarithm of the number of items that have a token."""
    tokens, extents, _ = Words.of([part.text for part in parts])
    owner = np.repeat(np.array([part.item for part in parts], np.int64), np.diff(extents))
    different, token = np.unique(tokens, return_inverse=True)
    pairs = np.unique(token.astype(np.int64) * max(1, items) + owner)
    frequency = np.bincount(pairs // max(1, items), minlength=different.size)
    weights = np.log((items + 1) / np.maximum(1, frequency)) / np.log(items + 1) if items else np.empty(0)
    return Weighed(tokens, extents, weights[token])


def _selected(weighed: Weighed, kept: Sequence[int]) -> Weighed:
    pieces = [slice(weighed.extents[number], weighed.extents[number + 1]) for number in kept]
    lengths = [piece.stop - piece.start for piece in pieces]
    return Weighed(
        np.concatenate([np.empty(0, np.uint64), *(weighed.tokens[piece] for piece in pieces)]),
        np.cumsum([0, *lengths], dtype=np.int64),
        np.concatenate([np.empty(0), *(weighed.weights[piece] for piece in pieces)]),
    )
