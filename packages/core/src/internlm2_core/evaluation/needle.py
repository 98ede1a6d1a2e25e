"""Needle in a haystack: one fact at every depth of every length (report section 5, long context).

An answer is right when the first number that the model writes, greedily, is the planted value. Guessing finds it once
in 10**digits.
"""

import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from internlm2_core.evaluation.haystack import Haystack
from internlm2_core.evaluation.planting import Prompt, PromptMaker
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result

LEADING_NUMBER = re.compile(r"\s*(\d+)")


class Needle:
    """Accuracy over depth and length, per language.

    Args:
        haystacks: Hay and wording by language.
        lengths: Tokens of prompt and answer, one row of the grid each.
        depths: Shares of the hay before the fact, one column each.
        trials: Prompts of a cell.
        digits: Digits of a value.
        distractors: Further facts about other names in each prompt.
        seed: Seed of the prompts. A cell's prompts do not depend on the other cells.

    Raises:
        ValueError: If the grid is empty, or a depth is outside 0 to 1.
    """

    kind: ClassVar[str] = "needle"
    version: ClassVar[int] = 1

    def __init__(
        self,
        haystacks: Mapping[str, Haystack],
        lengths: Sequence[int],
        depths: Sequence[float] = (0.0, 0.25, 0.5, 0.75, 1.0),
        trials: int = 8,
        digits: int = 3,
        distractors: int = 0,
        seed: int = 1,
    ) -> None:
        for name, values in {"haystacks": haystacks, "lengths": lengths, "depths": depths, "trials": trials}.items():
            if not values:
                raise ValueError(f"{name}={values!r} of a needle task must not be empty.")
        for depth in depths:
            if not 0 <= depth <= 1:
                raise ValueError(f"depths={list(depths)} of a needle task must be between 0 and 1.")
        self.haystacks, self.lengths, self.depths = dict(haystacks), list(lengths), [float(d) for d in depths]
        self.trials, self.digits, self.distractors, self.seed = trials, digits, distractors, seed

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Ask the whole grid, one length of one language at a time."""
        samples: list[dict[str, Any]] = []
        total = len(self.haystacks) * sum(self.lengths)
        done = 0
        for language, haystack in self.haystacks.items():
            maker = PromptMaker(haystack, subject.tokenizer, self.digits, self.distractors)
            for length in self.lengths:
                progress(done, total)
                samples += self._ask(subject, maker, language, length)
                done += length
        progress(total, total)
        languages = {name: self.grid([s for s in samples if s["language"] == name]) for name in self.haystacks}
        shape = {name: getattr(self, name) for name in ("lengths", "depths", "trials", "digits", "distractors", "seed")}
        return Result({**shape, "overall": self.grid(samples), "languages": languages}, samples)

    def _ask(self, subject: Subject, maker: PromptMaker, language: str, length: int) -> list[dict[str, Any]]:
        asked: list[tuple[float, Prompt]] = []
        for depth in self.depths:
            for trial in range(self.trials):
                rng = random.Random(f"{self.seed}/{language}/{length}/{depth}/{trial}")
                asked.append((depth, maker.make(length, depth, rng)))
        answers = subject.greedy([prompt.ids for _, prompt in asked], maker.answer_tokens)
        return [
            {
                "language": language,
                "length": length,
                "depth": depth,
                "question": prompt.question,
                "value": prompt.value,
                "answer": answer,
                "correct": first_number(answer) == prompt.value,
            }
            for (depth, prompt), answer in zip(asked, answers, strict=True)
        ]

    def grid(self, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Accuracy of all samples, per length, and per cell (rows are lengths, columns depths)."""
        rows = [[s for s in samples if s["length"] == length] for length in self.lengths]
        cells = [[[s for s in row if s["depth"] == depth] for depth in self.depths] for row in rows]
        return {
            "accuracy": accuracy(samples),
            "by_length": {str(length): accuracy(row) for length, row in zip(self.lengths, rows, strict=True)},
            "grid": [[accuracy(cell) for cell in row] for row in cells],
        }


def first_number(answer: str) -> str | None:
    """The digits that an answer begins with, or None."""
    match = LEADING_NUMBER.match(answer)
    return match[1] if match else None


def accuracy(samples: Sequence[Mapping[str, Any]]) -> float:
    """Share of the samples that are correct."""
    return sum(bool(sample["correct"]) for sample in samples) / len(samples)
