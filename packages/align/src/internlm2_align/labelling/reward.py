"""RewardAnnotator: one reward model, or several that must agree."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

import torch

from internlm2_align.labelling.annotator import Answer, Failure, now
from internlm2_align.preferences.comparison import Comparison, Judgement
from internlm2_align.reward.conditions import UnknownDomainError
from internlm2_align.reward.encoding import TooLongError
from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.scoring import Scorer
from internlm2_align.reward.shared import Group

Disagreement = Literal["tie", "skip"]
CHUNK = 256


class RewardAnnotator:
    """Judges by the scores of reward models, each under the condition of the comparison's domain.

    A model says with which probability the first reply is better, ``sigmoid(score difference)``. Models have scales of
    their own, so probabilities are averaged and not scores.

    Args:
        models: Folder of a reward model, or folders of several.
        min_margin: A mean that is less than this from undecided, on a scale from 0 to 1, is a tie.
        disagreement: What it is where one model prefers the first reply and another the second.
        max_tokens: Longest conversation.

    Raises:
        ValueError: If there is no model, ``min_margin`` is out of range, or ``disagreement`` is unknown.
    """

    def __init__(
        self,
        models: str | Path | Sequence[str | Path],
        min_margin: float = 0.0,
        disagreement: Disagreement = "tie",
        max_tokens: int = 8192,
    ) -> None:
        self.models = [Path(model) for model in ([models] if isinstance(models, (str, Path)) else models)]
        if not self.models:
            raise ValueError("models=[] must name a folder of a reward model or several.")
        if not 0 <= min_margin < 1:
            raise ValueError(f"min_margin={min_margin} must be in [0, 1).")
        if disagreement not in get_args(Disagreement):
            raise ValueError(f"disagreement={disagreement} must be one of {', '.join(get_args(Disagreement))}.")
        self.min_margin, self.disagreement, self.max_tokens = min_margin, disagreement, max_tokens

    @property
    def name(self) -> str:
        """The folders of the models."""
        return f"reward {' + '.join(map(str, self.models))}"

    def judge(self, comparisons: Sequence[Comparison], folder: Path) -> Iterator[Answer]:
        """Judge at once. What a model cannot score fails as ``no_condition`` or ``too_long``.

        Args:
            comparisons: Those to judge.
            folder: Nothing is kept there.
        """
        scorers = [RewardModel.load(model, max_tokens=self.max_tokens).scorer() for model in self.models]
        for start in range(0, len(comparisons), CHUNK):
            able: list[Comparison] = []
            groups: list[list[Group]] = []
            for comparison in comparisons[start : start + CHUNK]:
                try:
                    groups.append([_group(scorer, comparison) for scorer in scorers])
                    able.append(comparison)
                except (UnknownDomainError, TooLongError) as error:
                    reason = "too_long" if isinstance(error, TooLongError) else "no_condition"
                    yield Failure(comparison.id, reason, self.name, now(), str(error))
            if not able:
                continue
            columns = [scorer.scores(list(own)) for scorer, own in zip(scorers, zip(*groups, strict=True), strict=True)]
            for comparison, scores in zip(able, zip(*columns, strict=True), strict=True):
                yield self._verdict(comparison, scores)

    def _verdict(self, comparison: Comparison, scores: Sequence[Sequence[float]]) -> Judgement:
        said = [torch.tensor(first - second).sigmoid().item() for first, second in scores]
        lean = 2 * sum(said) / len(said) - 1
        meta = {"scores": {str(model): list(pair) for model, pair in zip(self.models, scores, strict=True)}}
        if min(said) < 0.5 < max(said):
            remark = "The models disagree."
            return Judgement(comparison.id, self.disagreement, self.name, now(), remark=remark, meta=meta)
        if lean == 0 or abs(lean) < self.min_margin:
            return Judgement(comparison.id, "tie", self.name, now(), meta=meta)
        return Judgement(comparison.id, "first" if lean > 0 else "second", self.name, now(), abs(lean), meta=meta)


def _group(scorer: Scorer, comparison: Comparison) -> Group:
    return scorer.encoder.group(comparison.prompt, comparison.replies, comparison.domain, comparison.language)
