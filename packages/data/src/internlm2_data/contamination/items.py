"""Evaluation items, with question and answer apart."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from internlm2_records import Record, conversation_of, read_records

from internlm2_data.word_index import Words

log = logging.getLogger(__name__)

FIELDS = {
    "question": ("question", "prompt", "problem", "instruction"),
    "answer": ("reference", "target", "answer", "canonical_solution", "solution", "response", "output", "code"),
}
"""Names under which sets hold their questions and answers. The first that a record has is taken.

In what `internlm2 evaluate` writes, ``answer`` is what the model said. So names of the right answer come before it.
"""


@dataclass(frozen=True)
class Field:
    """A question or an answer that is looked for.

    Attributes:
        item: Number of its item.
        name: ``question`` or ``answer``.
        text: It.
        size: How many words it has.
    """

    item: int
    name: str
    text: str
    size: int


@dataclass(frozen=True)
class Item:
    """One item of an evaluation.

    Attributes:
        group: Name of its set.
        id: Its ``id`` or ``task_id``, or else file and line.
        texts: Question and answer, as far as it has them.
        score: What a model got for it, from 0 to 1, where the record says so.
    """

    group: str
    id: str
    texts: Mapping[str, str]
    score: float | None


def read_items(files: Sequence[str] | Mapping[str, str], names: Mapping[str, Sequence[str]] = FIELDS) -> list[Item]:
    """The items of some files. What cannot be read is a fault with its place.

    Args:
        files: Records of every format of `internlm2_records`, ``samples/TASK.jsonl`` of `internlm2 evaluate` among
            them, by name of the set. In a list, the file's name is that of the set.
        names: Keys of question and answer, the first that a record has is taken.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a record has neither question nor answer, or two sets have one name.
    """
    if not isinstance(files, Mapping):
        groups = [Path(file).name.partition(".")[0] for file in files]
        if twice := [group for group in groups if groups.count(group) > 1]:
            raise ValueError(f"items={list(files)} must be {{NAME: FILE}}, since {twice[0]} is there twice.")
        files = dict(zip(groups, files, strict=True))
    items = [
        placed.parse(partial(item_of, group=group, place=placed.place, names=names))
        for group, file in files.items()
        for placed in read_records(file)
    ]
    if not items:
        raise ValueError(f"items={dict(files)} hold no records.")
    return items


def item_of(record: Record, group: str, place: str, names: Mapping[str, Sequence[str]]) -> Item:
    """A record as an item.

    Args:
        record: A question and an answer under one of their names, or a conversation whose last turn is the answer.
        group: Name of the set.
        place: File and line, for records without an id.
        names: Keys of question and answer.

    Raises:
        ValueError: If it has neither.
    """
    found = {field: next((record[key] for key in keys if key in record), None) for field, keys in names.items()}
    texts = {field: text for field, text in found.items() if isinstance(text, str) and text.strip()}
    if not texts:
        turns = conversation_of(record)
        texts = {"question": "\n".join(turn["content"] for turn in turns[:-1]), "answer": turns[-1]["content"]}
    id_ = next((str(record[key]) for key in ("id", "task_id") if key in record), place)
    return Item(group, id_, texts, score_of(record))


def score_of(record: Record) -> float | None:
    """What `internlm2 evaluate` says that the answer got: ``correct``, ``score``, or the first of ``scores``."""
    scores = record.get("scores")
    several = list(scores.values()) if isinstance(scores, Mapping) else []
    given: list[Any] = [record.get("correct"), record.get("score"), *several[:1]]
    value = next((value for value in given if value is not None), None)
    return float(value) if isinstance(value, bool | int | float) and 0 <= value <= 1 else None


def fields_of(items: Sequence[Item], least: int) -> list[Field]:
    """Questions and answers that are long enough to be found by more than chance.

    Args:
        items: The items.
        least: The fewest words.
    """
    found = [(number, name, text) for number, item in enumerate(items) for name, text in item.texts.items()]
    sizes = Words.of([text for _, _, text in found]).sizes.tolist()
    kept = [Field(*about, size) for about, size in zip(found, sizes, strict=True) if size >= least]
    log.info("%d questions and answers, %d of them shorter than %d words", len(found), len(found) - len(kept), least)
    return kept
