"""Riddles hidden in held-out text, over kind, length and depth, and how long a text the model copes with.

It is `Needle` with more kinds of needles. The effective length follows RULER's definition over these kinds, and not
over RULER's tasks.
"""

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, ClassVar, NamedTuple

from internlm2_core.evaluation.effective import THRESHOLD, by_length, effective_length
from internlm2_core.evaluation.haystack import Haystack
from internlm2_core.evaluation.planting import Hay
from internlm2_core.evaluation.riddles import Riddle, RiddleMaker
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result

CHUNK_TOKENS = 1_000_000
"""Tokens of prompts that are held at once, or one prompt."""

EXAMPLES = 16
SPARE_TOKENS = 8
"""Tokens of an answer beside what is expected and words between it."""


class Asked(NamedTuple):
    """A riddle in a text of one length."""

    language: str
    kind: str
    length: int
    depth: float
    riddle: Riddle
    rng: random.Random


class Retrieval:
    """Scores over kind, length and depth, per language, and the effective length.

    Args:
        haystacks: Hay by language.
        riddles: Kinds of riddles by language and name.
        lengths: Tokens of prompt and answer, one row of a grid each.
        depths: Shares of the hay before the first fact, one column each. Other facts are anywhere, those of a chain
            after it.
        trials: Prompts of a cell.
        threshold: Score that a length must reach.
        seed: Seed of the prompts. A cell's prompts do not depend on the other cells.

    Raises:
        ValueError: If there is nothing to ask, a language has no hay, or a number is out of range.
    """

    kind: ClassVar[str] = "retrieval"
    version: ClassVar[int] = 1

    def __init__(
        self,
        haystacks: Mapping[str, Haystack],
        riddles: Mapping[str, Mapping[str, RiddleMaker]],
        lengths: Sequence[int],
        depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        trials: int = 4,
        threshold: float = THRESHOLD,
        seed: int = 1,
    ) -> None:
        for name, values in {"riddles": riddles, "lengths": lengths, "depths": depths, "trials": trials}.items():
            if not values:
                raise ValueError(f"{name}={values!r} of a retrieval task must not be empty.")
        if lacking := [language for language in riddles if language not in haystacks]:
            raise ValueError(f"haystacks={sorted(haystacks)} must have {lacking[0]!r}, in which there are riddles.")
        for name, value in [("depths", depth) for depth in depths] + [("threshold", threshold)]:
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value} of a retrieval task must be between 0 and 1.")
        self.haystacks, self.riddles = dict(haystacks), {name: dict(kinds) for name, kinds in riddles.items()}
        self.lengths, self.depths = list(lengths), [float(depth) for depth in depths]
        self.trials, self.threshold, self.seed = trials, threshold, seed

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Ask everything, one length of one kind at a time."""
        samples: list[dict[str, Any]] = []
        total = sum(map(len, self.riddles.values())) * sum(self.lengths)
        done, hay_tokens = 0, {}
        for language, kinds in self.riddles.items():
            hay = Hay(self.haystacks[language], subject.tokenizer)
            hay_tokens[language] = hay.num_tokens
            for kind, maker in kinds.items():
                room = answer_tokens(hay, maker)
                for length in self.lengths:
                    progress(done, total)
                    samples += ask(subject, hay, room, list(self._asked(language, kind, maker, length)))
                    done += length
        progress(total, total)
        shape = {name: getattr(self, name) for name in ("lengths", "depths", "trials", "threshold", "seed")}
        languages = {
            language: self._grid([sample for sample in samples if sample["language"] == language])
            | {"kinds": {kind: self._grid(of_kind(samples, language, kind)) for kind in kinds}}
            for language, kinds in self.riddles.items()
        }
        return Result(
            {**shape, "hay_tokens": hay_tokens, "overall": self._grid(samples), "languages": languages}, samples
        )

    def _asked(self, language: str, kind: str, maker: RiddleMaker, length: int) -> Iterator[Asked]:
        for depth in self.depths:
            for trial in range(self.trials):
                rng = random.Random(f"{self.seed}/{language}/{kind}/{length}/{depth}/{trial}")
                yield Asked(language, kind, length, depth, maker.make(rng), rng)

    def _grid(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        lengths = by_length(samples)
        cells: dict[tuple[int, float], list[float]] = defaultdict(list)
        for sample in samples:
            cells[sample["length"], sample["depth"]].append(sample["score"])
        return {
            "score": fmean(sample["score"] for sample in samples),
            "by_length": lengths,
            "effective_length": effective_length(lengths, self.threshold),
            "grid": [[fmean(cells[length, depth]) for depth in self.depths] for length in self.lengths],
        }


def of_kind(samples: Sequence[Mapping[str, Any]], language: str, kind: str) -> list[Mapping[str, Any]]:
    """The samples of one kind in one language.

    Args:
        samples: All samples.
        language: The language.
        kind: The kind.
    """
    return [sample for sample in samples if (sample["language"], sample["kind"]) == (language, kind)]


def ask(subject: Subject, hay: Hay, room: int, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """Answers of riddles of one length, scored.

    Args:
        subject: The model.
        hay: What they are hidden in.
        room: Tokens of an answer.
        asked: The riddles.
    """
    count = max(1, CHUNK_TOKENS // asked[0].length)
    samples = []
    for start in range(0, len(asked), count):
        part = asked[start : start + count]
        answers = subject.greedy([prompt_of(hay, room, each) for each in part], room)
        for each, answer in zip(part, answers, strict=True):
            riddle = each.riddle
            told = {"facts": list(riddle.facts), "question": riddle.question, "expected": list(riddle.expected)}
            about = {name: getattr(each, name) for name in ("language", "kind", "length", "depth")}
            samples.append(about | told | {"answer": answer, "score": riddle.score(answer)})
    return samples


def prompt_of(hay: Hay, room: int, asked: Asked) -> list[int]:
    """A prompt that leaves room for the answer.

    Args:
        hay: What the riddle is hidden in.
        room: Tokens of an answer.
        asked: The riddle, its length and its depth.
    """
    riddle, first, rng = asked.riddle, asked.depth, asked.rng
    others = [rng.random() for _ in riddle.facts[1:]]
    if riddle.in_order:
        others = sorted(first + (1 - first) * place for place in others)
    return hay.prompt(asked.length, room, riddle.facts, [first, *others], riddle.question, rng)


def answer_tokens(hay: Hay, maker: RiddleMaker) -> int:
    """Tokens that an answer of a kind may take: what is expected with words between, and some more.

    Args:
        hay: Knows the tokenizer.
        maker: Makes riddles of the kind. Some of its own are looked at, so that it does not depend on those asked.
    """
    riddles = [maker.make(random.Random(f"room/{number}")) for number in range(EXAMPLES)]
    return max(len(hay.encode(" and ".join(riddle.expected))) for riddle in riddles) + SPARE_TOKENS
