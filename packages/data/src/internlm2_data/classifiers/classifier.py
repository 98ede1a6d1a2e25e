"""What every classifier can do, and finding the right one for a folder."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Classifier(Protocol):
    """Scores texts."""

    @property
    def targets(self) -> Sequence[str]:
        """What it scores."""

    def scores(self, texts: Sequence[str], batch: int = 256) -> npt.NDArray[np.float64]:
        """Probabilities [texts, targets]."""

    def save(self, folder: Path) -> None:
        """Write it into a folder that exists."""


def load_classifier(folder: str | Path) -> Classifier:
    """A classifier that `internlm2 classifier` wrote.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If its card is of an unknown kind.
    """
    card = read_card(folder)
    if card["kind"] == "linear":
        from internlm2_data.classifiers.linear import LinearClassifier

        return LinearClassifier.load(Path(folder))
    if card["kind"] == "transformer":
        from internlm2_data.classifiers.transformer import TransformerClassifier

        return TransformerClassifier.load(Path(folder))
    raise ValueError(f"kind={card['kind']} of the classifier in {folder} must be linear or transformer.")


def read_card(folder: str | Path) -> dict[str, Any]:
    """The card of a classifier.

    Raises:
        FileNotFoundError: If there are none.
    """
    path = Path(folder) / "card.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no classifier. Train one with `internlm2 classifier output={folder}`.")
    return dict(json.loads(path.read_text("utf-8")))


def combined(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One score a text: the mean over the targets (report section 3.1.1: fluency combines four)."""
    return scores.mean(axis=1)
