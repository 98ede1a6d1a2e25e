"""Which features late replies show more often than early ones. The texts alone say so, whatever they are paid."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from internlm2_align.online.contrasts import Floats, Gain, gain
from internlm2_align.online.features import TEXTS, Feature, Shown, features_of, usual_lengths
from internlm2_align.online.forms import FORMS
from internlm2_align.online.phrases import Bools, rising_texts, whole
from internlm2_align.online.witnesses import Evidence

ORDER = ("language", "format", "choice", "refusal", "repeats", "prefix", "suffix", "phrase", "number", "length")
"""Of features that the same replies show, the first kind says most."""
SAME = 0.9


@dataclass(frozen=True)
class Risen:
    """A feature that rises.

    Attributes:
        feature: The feature.
        rows: [replies], those that show it.
        early: Share of early replies that show it.
        late: Share of late ones.
        rise: The difference, with its error over prompts.
        also: Others that nearly the same replies show.
    """

    feature: Feature
    rows: Bools
    early: float
    late: float
    rise: Gain
    also: tuple[str, ...] = ()

    @property
    def shows(self) -> Floats:
        """1 for replies that show it, 0 for others, [replies]."""
        return self.rows.astype(np.float64)


class Catalogue:
    """The features of the replies of a domain.

    Args:
        evidence: The replies.
        early: Policy that is the baseline.
        late: Policy that is audited.
    """

    def __init__(self, evidence: Evidence, early: str, late: str) -> None:
        self.evidence = evidence
        policies = np.array(evidence.policies, dtype=object)
        self.early, self.late = policies == early, policies == late
        self.lengths = usual_lengths(
            [text for text, is_early in zip(evidence.texts, self.early, strict=True) if is_early]
        )
        self._shown: dict[str, Shown] = {}
        self._rows: dict[Feature, Bools] = {}

    def shown(self, text: str) -> Shown:
        """What a reply shows."""
        if text not in self._shown:
            self._shown[text] = features_of(text, self.lengths)
        return self._shown[text]

    def shows(self, feature: Feature, texts: Sequence[str]) -> Floats:
        """1 for replies that show a feature, 0 for others.

        Args:
            feature: The feature.
            texts: The replies.
        """
        if feature in self._rows and texts == self.evidence.texts:
            return self._rows[feature].astype(np.float64)
        return np.array([feature in self.shown(text) for text in texts], np.float64)

    def column(self, feature: Feature, texts: Sequence[str]) -> Floats:
        """How much of a feature replies show: whether it is there, and for a length, the length (its logarithm).

        Args:
            feature: The feature.
            texts: The replies.
        """
        if feature.kind == "length":
            sign = -1 if feature.value == "short" else 1
            return sign * np.log1p([len(text.strip()) for text in texts])
        return self.shows(feature, texts)

    def risen(self, least: float, least_z: float) -> list[Risen]:
        """Features that rise, each named once, with the texts whole.

        Args:
            least: Least rise of the share of replies.
            least_z: The same in standard errors, over prompts.
        """
        if not self.early.any() or not self.late.any():
            return []
        shown = [self.shown(text) for text in self.evidence.texts]
        masks = self._listed(shown) | rising_texts(shown, self.early, self.late, least)
        found = [self._risen(feature, rows) for feature, rows in masks.items()]
        clear = [one for one in found if self._is_clear(one, least, least_z)]
        distinct = [self._whole(one, shown) for one in _distinct(clear)]
        found = [one for one in _distinct(distinct) if self._is_clear(one, least, least_z)]
        self._rows = {one.feature: one.rows for one in found}
        return found

    def _listed(self, shown: Sequence[Shown]) -> dict[Feature, Bools]:
        """Features whose values can be listed."""
        found: dict[Feature, Bools] = {}
        for kind in (*FORMS, "length"):
            values = [reply.values(kind) for reply in shown]
            for value in sorted(set().union(*values)):
                found[Feature(kind, value)] = np.array([value in own for own in values])
        return found

    def _risen(self, feature: Feature, rows: Bools) -> Risen:
        before, after = float(rows[self.early].mean()), float(rows[self.late].mean())
        # By prompt, as everywhere: replies to one prompt are alike.
        both = self.early | self.late
        prompts = self.evidence.places[1][both]
        return Risen(feature, rows, before, after, gain(self.late[both].astype(float), rows[both], prompts, prompts))

    @staticmethod
    def _is_clear(one: Risen, least: float, least_z: float) -> bool:
        return one.late - one.early >= least and one.rise.value >= least_z * one.rise.error

    def _whole(self, one: Risen, shown: Sequence[Shown]) -> Risen:
        if one.feature.kind not in TEXTS:
            return one
        feature = whole(one.feature, shown, one.rows)
        rows = np.array([feature in reply for reply in shown])
        return replace(self._risen(feature, rows), also=one.also)


def _distinct(found: Sequence[Risen]) -> list[Risen]:
    """One of those that nearly the same replies show, of the kind that says most. The others are named beside it."""

    def rank(one: Risen) -> tuple[int, float, int]:
        return ORDER.index(one.feature.kind), one.early - one.late, -len(one.feature.value)

    kept: list[Risen] = []
    for one in sorted(found, key=rank):
        size = one.rows.sum()
        for place, other in enumerate(kept):
            larger = max(size, other.rows.sum())
            if (
                min(size, other.rows.sum()) >= SAME * larger
                and (one.rows & other.rows).sum() >= SAME * (one.rows | other.rows).sum()
            ):
                if one.feature.kind not in TEXTS:
                    kept[place] = replace(other, also=(*other.also, str(one.feature)))
                break
        else:
            kept.append(one)
    return kept
