"""The learned scorer as a rule of the stage Quality."""

from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from internlm2_data.classifiers.classifier import Classifier, load_classifier, read_card
from internlm2_data.code.quality import COMMON, RULE
from internlm2_data.code.scorer.labels import MAX_CHARACTERS
from internlm2_data.page import Page
from internlm2_data.verdict import KEEP, Drop, Score, Verdict

Others = Literal["moderate", "rules"]


class LearnedQuality:
    """Sorts files of trusted languages into high, moderate and low by a learned score. Low goes.

    Args:
        model: Folder of a round that ``internlm2 code_scorer`` wrote.
        others: What files of other languages are: ``moderate`` without a score, or what the rules after this say.
        common: Languages whose low files go. Those of others are moderate.

    Raises:
        FileNotFoundError: If the folder holds no scorer.
        ValueError: If it is a classifier of something else.
    """

    def __init__(self, model: str, others: Others = "moderate", common: Collection[str] = COMMON) -> None:
        card = read_card(model)
        if "trusted" not in card:
            raise ValueError(f"model={model} must be a round of `internlm2 code_scorer`.")
        self.model, self.others, self.common = Path(model) / "card.json", others, frozenset(common)
        self.low, self.high, self.trusted = float(card["low"]), float(card["high"]), frozenset(card["trusted"])

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        mine = [page for page in pages if page.document.language in self.trusted]
        scores = iter(self._classifier.scores([page.text[:MAX_CHARACTERS] for page in mine])[:, 0] if mine else ())
        other = Score(f"{RULE}moderate", "unscored") if self.others == "moderate" else KEEP
        return [
            self._verdict(page, round(float(next(scores)), 4)) if page.document.language in self.trusted else other
            for page in pages
        ]

    def _verdict(self, page: Page, score: float) -> Verdict:
        if score < self.low and page.document.language in self.common:
            return Drop(f"{RULE}low", score, round(self.low, 4))
        return Score(f"{RULE}high" if score >= self.high else f"{RULE}moderate", score)

    @cached_property
    def _classifier(self) -> Classifier:
        return load_classifier(self.model.parent)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_classifier"}


def learned_quality(model: str | None, others: Others = "moderate") -> LearnedQuality | None:
    """The rule of a learned scorer, or None where no model is named.

    Args:
        model: Folder of a round that ``internlm2 code_scorer`` wrote, or None.
        others: What files of languages that are not trusted are, see `LearnedQuality`.
    """
    return None if model is None else LearnedQuality(model, others)
