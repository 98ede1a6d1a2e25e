"""Which texts train a classifier, which choose its threshold, and which tell how good it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from internlm2_data.classifiers.labels import Labelled
from internlm2_data.classifiers.source import LabelSource

Split = tuple[list[str], npt.NDArray[np.float64]]
"""Texts, and their labels [texts, targets]."""

SHARES = {"train": 70, "validation": 15, "test": 15}
"""Of the texts, in percent."""


@dataclass(frozen=True)
class Part:
    """Texts that serve one purpose.

    Attributes:
        purpose: ``train``, ``validation``, ``test``, or ``own_test`` beside the test of another source.
        texts: The texts.
        origin: Where they are from: what each source says about itself, and which share of it they are.
    """

    purpose: str
    texts: Sequence[Labelled]
    origin: Sequence[Mapping[str, Any]]

    @property
    def numbers(self) -> Split:
        """Its texts and labels."""
        return [text.text for text in self.texts], np.array([text.labels for text in self.texts], np.float64)

    def check(self, targets: Sequence[str], total: int) -> None:
        """Refuse texts that say nothing about a target.

        Args:
            targets: Names of the labels.
            total: Texts of all parts.

        Raises:
            ValueError: If there are none of a kind, or another number of labels.
        """
        widths = {len(text.labels) for text in self.texts} - {len(targets)}
        if widths:
            raise ValueError(f"The labels have {widths.pop()} numbers a text, and targets has {len(targets)} names.")
        if not self.texts or (self.numbers[1].mean(axis=0) % 1 == 0).any():
            raise ValueError(
                f"Of {total} labelled texts {len(self.texts)} are for {self.purpose}. It needs good and bad ones of "
                f"each of targets={list(targets)}."
            )


def splits_of(
    sources: Sequence[LabelSource], targets: Sequence[str], files: Mapping[str, str | None]
) -> dict[str, Part]:
    """Share texts out. No text is in two parts: what a file holds is not trained on.

    Args:
        sources: Labelled texts.
        targets: Names of the labels.
        files: Files for ``validation`` and ``test``. Where there is none, a share of the sources is taken. A share that
            a file replaces is trained on, except for that of the test, which stays as ``own_test``.
    """
    given = {purpose: sources[0].at(path, targets) for purpose, path in files.items() if path is not None}
    theirs = {purpose: _different(source.read()) for purpose, source in given.items()}
    # A text in both files is for the test.
    taken = {text for own in theirs.values() for text in own}
    if "validation" in theirs:
        theirs["validation"] = {t: own for t, own in theirs["validation"].items() if t not in theirs.get("test", {})}
    texts = _different(text for source in sources for text in source.read() if text.text not in taken)
    place = {"train": "train", "validation": "validation", "test": "test"}
    place |= {"validation": "train"} if "validation" in given else {}
    place |= {"test": "own_test"} if "test" in given else {}
    parts = {}
    for purpose in dict.fromkeys([*place.values(), *given]):
        if purpose in given:
            parts[purpose] = Part(purpose, list(theirs[purpose].values()), [{**given[purpose].about(), "share": "all"}])
            continue
        splits = [split for split, at in place.items() if at == purpose]
        share = f"{sum(SHARES[split] for split in splits)}%"
        own = [text for text in texts.values() if text.split in splits]
        parts[purpose] = Part(purpose, own, [{**source.about(), "share": share} for source in sources])
    return parts


def _different(texts: Any) -> dict[str, Labelled]:
    return {text.text: text for text in texts}
