"""Items of evaluation sets, from files of any of the usual forms."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internlm2_records import Placed, read_records
from internlm2_records.streams import UNREADABLE, open_binary

from internlm2_data.io.items import Fault


@dataclass(frozen=True)
class ItemFields:
    """Where an item's parts are in a record. The first key that is there and holds text counts.

    Attributes:
        question: Keys of the question.
        answer: Keys of the answer. A list of answers beside one question: any of them is right.
        options: Keys of the choices.
        items: Keys of a list of items inside of one record.
    """

    question: Sequence[str] = ("question", "problem", "prompt", "instructions", "instruction", "turns", "input", "text")
    answer: Sequence[str] = (
        "answer", "solution", "canonical_solution", "code", "target", "outputs", "output", "response", "reference",
    )  # fmt: skip
    options: Sequence[str] = ("options", "choices")
    items: Sequence[str] = ("examples", "items", "data")


@dataclass(frozen=True, slots=True)
class EvaluationItem:
    """One item.

    Attributes:
        set: Name of its set: that of the file, without endings.
        place: File and line.
        question: Its question.
        answers: Its right answers, as far as they are text.
        options: Its choices, end to end.
    """

    set: str
    place: str
    question: str
    answers: tuple[str, ...] = ()
    options: str = ""


def read_items(files: Sequence[Path], fields: ItemFields) -> tuple[list[EvaluationItem], list[Fault]]:
    """Items of files, each question of a set once, and the records without a question as faults.

    Args:
        files: Files of records.
        fields: Where parts are.
    """
    found: dict[tuple[str, str], EvaluationItem] = {}
    faults: list[Fault] = []
    for path in files:
        for placed in _records(path):
            value = placed.value
            records = list(_inside(value, fields)) if isinstance(value, Mapping) else []
            items = [item for record in records for item in _items(record, set_name(path), placed.place, fields)]
            if not items:
                what = placed.fault or f"no question under {', '.join(fields.question)}"
                faults.append(Fault(str(placed.file), placed.number, what, placed.unit))
            for item in items:
                known = found.get((item.set, item.question))
                answers = tuple(dict.fromkeys([*(known.answers if known else ()), *item.answers]))
                first = known or item
                found[item.set, item.question] = EvaluationItem(
                    first.set, first.place, first.question, answers, first.options
                )
    return list(found.values()), faults


def _records(path: Path) -> Iterator[Placed]:
    try:
        yield from _opened(path)
    except (*UNREADABLE, ValueError) as error:
        yield Placed(path, 1, fault=f"the file cannot be read: {error}")


def _opened(path: Path) -> Iterable[Placed]:
    if set(path.suffixes[-2:]).isdisjoint({".json"}):
        return read_records(path)
    # One object that holds a list, as BIG-Bench Hard has it, or a list.
    with open_binary(path) as file:
        value = json.load(file)
    values = value if isinstance(value, list) else [value]
    return [Placed(path, number, value, unit="record") for number, value in enumerate(values, 1)]


def set_name(path: Path) -> str:
    """A file's name without its endings."""
    return path.name.split(".")[0]


def _inside(record: Mapping[str, Any], fields: ItemFields) -> Iterator[Mapping[str, Any]]:
    for key in fields.items:
        if isinstance(record.get(key), list) and all(isinstance(item, Mapping) for item in record[key]):
            yield from record[key]
            return
    yield record


def _items(record: Mapping[str, Any], name: str, place: str, fields: ItemFields) -> Iterator[EvaluationItem]:
    turns = record.get("messages")
    if isinstance(turns, list):
        record = {"question": _said(turns, "user"), "answer": _said(turns, "assistant")}
    questions, answers = _texts(record, fields.question), _texts(record, fields.answer)
    if record.get("is_correct") is False:
        answers = []
    options = " ".join(_texts(record, fields.options))
    paired = len(questions) == len(answers) > 1
    for number, question in enumerate(questions):
        own = answers[number : number + 1] if paired else answers if len(questions) == 1 else []
        yield EvaluationItem(name, place, question, tuple(own), options)


def _said(turns: Sequence[Any], role: str) -> list[str]:
    return [str(turn["content"]) for turn in turns if isinstance(turn, Mapping) and turn.get("role") == role]


def _texts(record: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    for key in keys:
        value = record.get(key)
        texts = [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value
        if isinstance(texts, list | tuple):
            kept = [str(text) for text in texts if isinstance(text, str | int | float) and str(text).strip()]
            if kept:
                return kept
    return []
