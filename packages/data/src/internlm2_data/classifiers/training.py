"""The job `internlm2 classifier`."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from internlm2_records.progress import LineProgress
from rich.console import Console
from rich.table import Table

from internlm2_data.classifiers.card import Side, by_language, choose_threshold
from internlm2_data.classifiers.classifier import Classifier, combined
from internlm2_data.classifiers.linear import Numbers, fit_linear
from internlm2_data.classifiers.source import LabelSource
from internlm2_data.classifiers.splits import Part, Split, splits_of
from internlm2_data.stages.manifest import write_json

Fit = Callable[[Split, Split, Sequence[str], Path], Classifier]
"""Fits a model to the first texts, chooses by the second ones, and may keep what it needs to resume in a folder."""


def train_classifier(
    sources: Sequence[LabelSource],
    output: str | Path,
    targets: Sequence[str] = ("label",),
    drop: Side = "above",
    precision: float = 0.9,
    fit: Fit | None = None,
    kind: str = "linear",
    validation: str | None = None,
    test: str | None = None,
) -> None:
    """Train, calibrate, evaluate and save a classifier.

    70% of the texts train it, 15% choose its threshold, 15% tell how good it is. Which is which depends on the text
    alone. Texts of another source may choose and tell instead: a classifier is worse on text that is not like its own.

    Args:
        sources: Labelled texts.
        output: Folder for the model and `card.json`.
        targets: What the labels mean, in their order. The score of a text is the mean over them.
        drop: Whether texts with scores above ("toxicity") or below ("fluency") the threshold are to go.
        precision: Share of right drops that the threshold should reach on validation.
        fit: Fits a model. None for the linear one.
        kind: What the card says it is.
        validation: File of texts that choose the threshold, labelled as the first source is. None takes 15% of the
            texts.
        test: File of texts that tell how good it is. None takes 15% of the texts. With a file, the card has figures of
            both.

    Raises:
        ValueError: If there are too few texts of a kind.
    """
    splits = splits_of(sources, targets, {"validation": validation, "test": test})
    for split in splits.values():
        split.check(targets, sum(len(split.texts) for split in splits.values()))
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    model = (fit or _fit_linear)(splits["train"].numbers, splits["validation"].numbers, targets, folder)
    chosen = splits["validation"]
    scores = combined(model.scores(chosen.numbers[0]))
    threshold = choose_threshold(scores, _to_drop(chosen.numbers[1], drop), drop, precision)
    figures = {name: _figures(model, split, drop, threshold) for name, split in splits.items() if "test" in name}
    card = {
        "kind": kind,
        "targets": list(targets),
        "drop": drop,
        "threshold": threshold,
        "threshold_from": chosen.origin,
        "wanted_precision": precision,
        "figures_on_test": figures["test"],
        "test_from": splits["test"].origin,
        "texts": {name: len(split.texts) for name, split in splits.items()},
        "languages": dict(Counter(text.language for split in splits.values() for text in split.texts).most_common()),
        "labels": [source.about() for source in sources],
    }
    if "own_test" in figures:
        card |= {"figures_on_own_test": figures["own_test"], "own_test_from": splits["own_test"].origin}
    model.save(folder)
    write_json(folder / "card.json", card)
    _show(card)


def _figures(model: Classifier, split: Part, drop: Side, threshold: float) -> dict[str, Any]:
    scores = combined(model.scores(split.numbers[0]))
    languages = [text.language for text in split.texts]
    return by_language(languages, scores, _to_drop(split.numbers[1], drop), drop, threshold)


def _show(card: dict[str, Any]) -> None:
    """Print the figures, and of which texts they are."""
    columns = ("language", "texts", "to_drop", "precision", "recall", "f1", "average_precision")
    for name in ("own_test", "test"):
        if f"{name}_from" not in card:
            continue
        origin = ", ".join(map(_named, card[f"{name}_from"]))
        table = Table(title=f"{'+'.join(card['targets'])}: dropped {card['drop']} {card['threshold']:.3f}. On {origin}")
        for column in columns:
            table.add_column(column.replace("_", " "))
        for language, row in card[f"figures_on_{name}"].items():
            table.add_row(language, *(str(row[column]) for column in columns[1:]))
        Console().print(table)


def _named(origin: Mapping[str, Any]) -> str:
    return f"{origin['share']} of {origin.get('file') or 'texts made by rule'}"


def _fit_linear(train: Split, validation: Split, targets: Sequence[str], folder: Path) -> Classifier:
    with LineProgress() as progress:
        progress.add_task(f"training on {len(train[0])} texts", total=None)
        return fit_linear(train[0], train[1], targets, validation)


def _to_drop(labels: Numbers, side: Side) -> Any:
    # One bad side is enough.
    return labels.max(axis=1) >= 0.5 if side == "above" else labels.min(axis=1) < 0.5
