"""The job `internlm2 classifier`."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from internlm2_records.progress import LineProgress
from rich.console import Console
from rich.table import Table

from internlm2_data.classifiers.card import Side, by_language, choose_threshold
from internlm2_data.classifiers.classifier import Classifier, combined
from internlm2_data.classifiers.labels import Labelled
from internlm2_data.classifiers.linear import Numbers, fit_linear
from internlm2_data.classifiers.source import LabelSource
from internlm2_data.stages.manifest import write_json

Split = tuple[list[str], Numbers]
Fit = Callable[[Split, Split, Sequence[str]], Classifier]


def train_classifier(
    sources: Sequence[LabelSource],
    output: str | Path,
    targets: Sequence[str] = ("label",),
    drop: Side = "above",
    precision: float = 0.9,
    fit: Fit | None = None,
    kind: str = "linear",
) -> None:
    """Train, calibrate, evaluate and save a classifier.

    70% of the texts train it, 15% choose its threshold, 15% tell how good it is. Which is which depends on the text
    alone.

    Args:
        sources: Labelled texts.
        output: Folder for the model and `card.json`.
        targets: What the labels mean, in their order. The score of a text is the mean over them.
        drop: Whether texts with scores above ("toxicity") or below ("fluency") the threshold are to go.
        precision: Share of right drops that the threshold should reach on validation.
        fit: Fits a model. None for the linear one.
        kind: What the card says it is.

    Raises:
        ValueError: If there are too few texts of a kind.
    """
    texts = list({text.text: text for source in sources for text in source.read()}.values())
    splits = {name: _split(texts, name, len(targets)) for name in ("train", "validation", "test")}
    for name, (_, labels) in splits.items():
        if not len(labels) or (labels.mean(axis=0) % 1 == 0).any():
            raise ValueError(
                f"Of {len(texts)} labelled texts {len(labels)} are for {name}. It needs good and bad ones of each of "
                f"targets={list(targets)}."
            )
    with LineProgress() as progress:
        progress.add_task(f"training on {len(splits['train'][0])} texts", total=None)
        model = (fit or _fit_linear)(splits["train"], splits["validation"], targets)
    scores = combined(model.scores(splits["validation"][0]))
    threshold = choose_threshold(scores, _to_drop(splits["validation"][1], drop), drop, precision)
    languages = [text.language for text in texts if text.split == "test"]
    scores = combined(model.scores(splits["test"][0]))
    found = by_language(languages, scores, _to_drop(splits["test"][1], drop), drop, threshold)
    card = {
        "kind": kind,
        "targets": list(targets),
        "drop": drop,
        "threshold": threshold,
        "wanted_precision": precision,
        "figures_on_test": found,
        "texts": {name: len(split[0]) for name, split in splits.items()},
        "languages": dict(Counter(text.language for text in texts).most_common()),
        "labels": [source.about() for source in sources],
    }
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    write_json(folder / "card.json", card)
    _show(card)


def _show(card: dict[str, Any]) -> None:
    """Print the figures."""
    table = Table(title=f"{'+'.join(card['targets'])}: dropped {card['drop']} {card['threshold']:.3f}")
    columns = ("language", "texts", "to_drop", "precision", "recall", "f1", "average_precision")
    for column in columns:
        table.add_column(column.replace("_", " "))
    for language, row in card["figures_on_test"].items():
        table.add_row(language, *(str(row[column]) for column in columns[1:]))
    Console().print(table)


def _fit_linear(train: Split, validation: Split, targets: Sequence[str]) -> Classifier:
    return fit_linear(train[0], train[1], targets, validation)


def _split(texts: Sequence[Labelled], name: str, targets: int) -> Split:
    chosen = [text for text in texts if text.split == name]
    width = len(chosen[0].labels) if chosen else targets
    labels = np.array([text.labels for text in chosen], np.float64).reshape(len(chosen), width)
    if width != targets:
        raise ValueError(f"The labels have {labels.shape[1]} numbers a text, and targets has {targets} names.")
    return [text.text for text in chosen], labels


def _to_drop(labels: Numbers, side: Side) -> Any:
    # One bad side is enough.
    return labels.max(axis=1) >= 0.5 if side == "above" else labels.min(axis=1) < 0.5
