"""Length-controlled win rate (arXiv 2404.04475): what the win rate would be if both models wrote equally long answers.

A logistic regression explains the preference for the model by tanh of the standardised difference of lengths, the
difficulty of the instruction, and the model itself. The win rate is then predicted with a difference of 0.

As published it is regularised towards two gamed copies of the baseline. Their judgements (``df_gamed.csv``) and the
difficulties are data of AlpacaEval. Without them the terms that need them are left out, which AlpacaEval calls
``length_controlled_noreg`` (difficulties alone) and ``length_controlled_minimal`` (neither).
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS, GAMED_WEIGHT = 5, 0.2
STRENGTHS = np.logspace(-4, 4, 10)
"""Inverse strengths of the L1 penalty, of which cross-validation picks one. They are scikit-learn's, as published."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Judged:
    """Judgements of some instructions. N instructions.

    Attributes:
        preference: Probability that the model is preferred, [N], between 0 and 1.
        length_difference: Characters of the baseline's answer less those of the model's, standardised, [N].
        difficulty: Of each instruction, [N]. None where it is not known.
    """

    preference: Array
    length_difference: Array
    difficulty: Array | None = None


def standardised(ours: Sequence[str], baseline: Sequence[str]) -> Array:
    """Differences of lengths in characters over their standard deviation (with N - 1), [N].

    Args:
        ours: The model's answers.
        baseline: The baseline's.

    Raises:
        ValueError: If all differences are equal.
    """
    difference = np.array([len(theirs) - len(own) for own, theirs in zip(ours, baseline, strict=True)], dtype=float)
    spread = float(difference.std(ddof=1)) if len(difference) > 1 else 0.0
    if spread == 0:
        raise ValueError("All answers differ by the same length from the baseline's, so it cannot be controlled.")
    return difference / spread


def length_controlled(judged: Judged, gamed: Judged | None = None) -> Array:
    """Predicted preferences with answers of equal length, [N]. Their mean is the win rate.

    Args:
        judged: Of the model.
        gamed: Of the gamed copies of the baseline, which the fit is regularised by. None leaves them out.

    Raises:
        ValueError: If there are fewer instructions than folds.
    """
    if len(judged.preference) < FOLDS:
        raise ValueError(f"{len(judged.preference)} judged instructions must be {FOLDS} or more.")
    features = _features(judged, is_model=True)
    preference, weight = judged.preference, np.ones(len(features))
    if gamed is not None:
        features = np.concatenate([_features(gamed, is_model=False), features])
        preference = np.concatenate([gamed.preference, preference])
        weight = np.concatenate([np.full(len(gamed.preference), GAMED_WEIGHT / 2), weight])
    coefficients = _fitted(features, preference, weight)
    equal = Judged(judged.preference, np.zeros_like(judged.length_difference), judged.difficulty)
    return _sigmoid(_features(equal, is_model=True) @ coefficients)


def _features(judged: Judged, is_model: bool) -> Array:
    columns = [np.tanh(judged.length_difference)]
    if judged.difficulty is not None:
        columns.append(judged.difficulty)
    columns.append(np.full(len(judged.preference), float(is_model)))
    return np.stack(columns, axis=1)


def _fitted(features: Array, preference: Array, weight: Array) -> Array:
    """Coefficients under the penalty whose loss on left-out folds is least."""
    from sklearn.model_selection import GroupKFold

    rows = np.arange(len(features))
    losses = np.zeros(len(STRENGTHS))
    # Each row is given twice, as preferred and as not. The folds are those of the doubled rows.
    doubled = np.concatenate([rows, rows])
    for train, test in GroupKFold(FOLDS).split(doubled, groups=doubled):
        known, left = np.unique(doubled[train]), np.unique(doubled[test])
        for place, strength in enumerate(STRENGTHS):
            found = _coefficients(features[known], preference[known], weight[known], strength)
            losses[place] += _loss(features[left] @ found, preference[left], weight[left])
    return _coefficients(features, preference, weight, STRENGTHS[int(losses.argmin())])


def _coefficients(features: Array, preference: Array, weight: Array, strength: float) -> Array:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(
        C=float(strength), l1_ratio=1.0, solver="liblinear", fit_intercept=False, random_state=123
    )
    labels = np.repeat([1, 0], len(features))
    weights = np.concatenate([preference, 1 - preference]) * np.tile(weight, 2)
    with warnings.catch_warnings():
        # The published code stops after as many iterations.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.tile(features, (2, 1)), labels, sample_weight=weights)
    found: Array = model.coef_[0]
    return found


def _loss(logits: Array, preference: Array, weight: Array) -> float:
    chance = np.clip(_sigmoid(logits), 1e-15, 1 - 1e-15)
    return float(-np.mean(weight * (preference * np.log(chance) + (1 - preference) * np.log(1 - chance))))


def _sigmoid(logits: Array) -> Array:
    found: Array = np.exp(-np.logaddexp(0, -logits))
    return found
