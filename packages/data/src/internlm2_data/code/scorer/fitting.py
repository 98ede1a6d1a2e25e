"""Fitting the scorer, and finding out how far it can be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.classifiers.card import choose_threshold
from internlm2_data.classifiers.classifier import Classifier
from internlm2_data.classifiers.linear import fit_linear
from internlm2_data.classifiers.splits import Split
from internlm2_data.classifiers.training import Fit
from internlm2_data.code.scorer.labels import Labelled

TARGETS = ("quality",)
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trust:
    """When a language is scored by the model.

    Attributes:
        labels: It has this many files labelled high, and as many labelled low.
        agreement: The score is on people's side of 0.5 for this share of both, on average.
    """

    labels: int = 15
    agreement: float = 0.8


@dataclass(frozen=True)
class Fitted:
    """A scorer and what its labels say about it.

    Attributes:
        model: The classifier. Its score is the probability of high.
        low: Files that score less are low.
        high: Files that score as much are high.
        scores: Score of each label, by a model that has not seen its repository.
        languages: What is known of each language.
    """

    model: Classifier
    low: float
    high: float
    scores: Numbers
    languages: dict[str, dict[str, Any]]

    def contradicts(self, label: str, score: float) -> bool:
        """Whether a score says with confidence the opposite of a label.

        Args:
            label: What people said.
            score: What the model says.
        """
        return score < self.low if label == "high" else score >= self.high if label == "low" else False


def fit_scorer(
    files: Sequence[Labelled], precision: float, trust: Trust, folds: int, folder: Path, fit: Fit | None = None
) -> Fitted:
    """Fit to all labels, and measure on each of them with models that have not seen it.

    Args:
        files: Labelled files. Moderate ones are measured on and not trained on.
        precision: Share of right calls that each threshold should reach.
        trust: When a language is trusted.
        folds: Parts that the labels are cut into. One is scored, one chooses the penalty, the others are trained on.
        folder: For what a fit keeps to resume.
        fit: Fits a model. None for the linear one.

    Raises:
        ValueError: If a part has none of a kind.
    """
    labels = np.array([file.label for file in files])
    part = _parts(files, labels, folds)
    scores = np.empty(len(files))
    for fold in range(folds):
        model = _fitted(files, labels, part, {fold}, (fold + 1) % folds, folder / f"fold-{fold}", fit)
        mine = np.flatnonzero(part == fold).tolist()
        scores[mine] = model.scores([files[place].text for place in mine])[:, 0]
    names = np.array([file.language for file in files])
    languages = {
        str(name): _language(labels[names == name], scores[names == name], trust) for name in sorted(set(names))
    }
    # Where the scorer guesses, no score is worth confidence. Before any language is trusted, all have a say.
    sure = np.isin(names, [name for name, row in languages.items() if row["trusted"]] or names)
    low = choose_threshold(scores[sure], labels[sure] == "low", "below", precision)
    high = choose_threshold(scores[sure], labels[sure] == "high", "above", precision)
    if low > high:
        low = high = (low + high) / 2
    model = _fitted(files, labels, part, set(), 0, folder / "all", fit)
    return Fitted(model, low, high, scores, languages)


def _language(labels: npt.NDArray[np.str_], scores: Numbers, trust: Trust) -> dict[str, Any]:
    """Labels of one language, and whether their scores are on the right side."""
    counts = {name: int((labels == name).sum()) for name in ("high", "moderate", "low")}
    right = [np.mean((scores >= 0.5)[labels == name] == (name == "high")) for name in ("high", "low") if counts[name]]
    agreement = float(np.mean(right)) if len(right) == 2 else 0.0
    enough = min(counts["high"], counts["low"]) >= trust.labels
    return {**counts, "agreement": round(agreement, 4), "trusted": enough and agreement >= trust.agreement}


def _parts(files: Sequence[Labelled], labels: npt.NDArray[np.str_], folds: int) -> npt.NDArray[np.int64]:
    """Which part each file is in. Files of a repository are in one."""
    from sklearn.model_selection import StratifiedGroupKFold

    groups = {name: {f.group for f in files if f.label == name} for name in ("high", "low")}
    for name, found in groups.items():
        if len(found) < folds:
            raise ValueError(
                f"Files labelled {name} are from {len(found)} repositories. With folds={folds} it must be {folds} "
                "or more."
            )
    part = np.empty(len(files), np.int64)
    split = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    kinds = np.where(labels == "moderate", "high", labels)  # of which there may be too few to share out
    for fold, (_, places) in enumerate(split.split(np.empty(len(files)), kinds, [file.group for file in files])):
        part[places] = fold
    for fold in range(folds):
        missing = {"high", "low"} - set(labels[part == fold])
        if missing:
            raise ValueError(
                f"{len(files)} labels in folds={folds} parts leave one without {missing.pop()} files. Label more of "
                "them, of more repositories, or take fewer folds."
            )
    return part


def _fitted(
    files: Sequence[Labelled],
    labels: npt.NDArray[np.str_],
    part: npt.NDArray[np.int64],
    unseen: set[int],
    choosing: int,
    folder: Path,
    fit: Fit | None,
) -> Classifier:
    """A model of all parts but the unseen, one of which chooses the penalty."""
    told = np.isin(labels, ("high", "low"))
    chooses = told & (part == choosing)
    trains = told & ~chooses & ~np.isin(part, list(unseen))

    def split(which: npt.NDArray[np.bool_]) -> Split:
        places = np.flatnonzero(which).tolist()
        return [files[place].text for place in places], (labels[places] == "high").astype(np.float64)[:, None]

    if fit is None:
        train, validation = split(trains), split(chooses)
        return fit_linear(*train, TARGETS, validation)
    folder.mkdir(parents=True, exist_ok=True)
    model = fit(split(trains), split(chooses), TARGETS, folder)
    rmtree(folder)
    return model
