"""A classifier as a rule of a stage."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from internlm2_data.classifiers.classifier import Classifier, combined, load_classifier, read_card
from internlm2_data.page import Page
from internlm2_data.verdict import Drop, Score, Verdict

MAX_CHARACTERS = 20_000


class ClassifierRule:
    """Drops documents by a classifier's score, and notes the score of the others.

    Args:
        name: Of the rule, "safety.toxicity".
        model: Folder that `internlm2 classifier` wrote.
        threshold: None for the one on its card.

    Raises:
        FileNotFoundError: If the folder holds no classifier.
    """

    def __init__(self, name: str, model: str, threshold: float | None = None) -> None:
        card = read_card(model)
        self.name, self.model, self.card = name, Path(model) / "card.json", card
        self.threshold = float(card["threshold"]) if threshold is None else threshold
        self.drop = card["drop"]

    def judge(self, pages: Sequence[Page]) -> list[Verdict]:
        """See `Rule`."""
        if not pages:
            return []
        scores = combined(self._classifier.scores([page.text[:MAX_CHARACTERS] for page in pages]))
        return [self._verdict(round(float(score), 4)) for score in scores]

    def _verdict(self, score: float) -> Verdict:
        bad = score > self.threshold if self.drop == "above" else score < self.threshold
        return Drop(self.name, score, round(self.threshold, 4)) if bad else Score(self.name, score)

    @cached_property
    def _classifier(self) -> Classifier:
        return load_classifier(self.model.parent)

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name != "_classifier"}


def classifier_rule(name: str, model: str | None, threshold: float | None = None) -> ClassifierRule | None:
    """The rule of a classifier, or None where no model is named.

    Args:
        name: Of the rule, "safety.toxicity".
        model: Folder that ``internlm2 classifier`` wrote, or None.
        threshold: None for the one on its card.
    """
    return None if model is None else ClassifierRule(name, model, threshold)
