"""What people say of a model, beside what its files say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from internlm2_records.cards import FILE


@dataclass(frozen=True)
class About:
    """What a card holds that no file of the model says.

    Attributes:
        license: Name of the licence, as the hub calls it. Nothing is said of it if None.
        languages: Codes of the languages that it is for.
        datasets: Names of the data sets that it was trained on.
        base_model: Name of the model that it was made from.
        evaluations: Files ``metrics.json`` of ``internlm2 evaluate`` on this model.
        notes: Sentences that a reader must know, such as who labelled its preferences.
    """

    license: str | None = None
    languages: Sequence[str] = ()
    datasets: Sequence[str] = ()
    base_model: str | None = None
    evaluations: Sequence[str] = ()
    notes: Sequence[str] = ()


def inherited(about: About, source: Path) -> About:
    """What is said of a model, with what the card of the folder that it is made from says where nothing is.

    Args:
        about: What people say.
        source: A model folder, or a checkpoint, which has no card.
    """
    if not (source / FILE).is_file():
        return about
    from huggingface_hub import ModelCard

    said: Any = ModelCard.load(source / FILE, ignore_metadata_errors=True).data
    named = {"license": said.license, "base_model": said.base_model}
    lists = {"languages": said.language, "datasets": said.datasets}
    known: dict[str, Any] = {name: value for name, value in named.items() if isinstance(value, str)}
    known |= {name: [value] if isinstance(value, str) else list(value) for name, value in lists.items() if value}
    return replace(about, **{name: value for name, value in known.items() if not getattr(about, name)})
