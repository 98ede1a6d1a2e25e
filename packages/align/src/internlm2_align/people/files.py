"""What people said as files: preference pairs, judgements, and Label Studio's tasks."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.written import write_text
from internlm2_records import Record, read_records

from internlm2_align.people.label_studio import task_text
from internlm2_align.people.queue import Queue
from internlm2_align.people.take import said_record, take
from internlm2_align.people.votes import Role, Said
from internlm2_align.preferences.comparison import Judgement, preference_records
from internlm2_align.preferences.sources import is_number


def judgement_lines(queue: Queue) -> str:
    """Everything that was ever said, as JSON lines."""
    return _lines(said_record(said) for said in queue.judgements())


def pair_lines(queue: Queue) -> str:
    """The pairs of all decided comparisons that prefer one side, as JSON lines that `internlm2 reward` reads."""
    return _lines(preference_records(queue.comparisons(), queue.decided()))


EXPORTS: dict[str, tuple[str, Callable[[Queue], str]]] = {
    "pairs": ("preferences.jsonl", pair_lines),
    "judgements": ("judgements.jsonl", judgement_lines),
    "label_studio": ("label-studio.json", task_text),
}
"""Name of the file and what writes it, by format."""


def export(queue: Queue, path: str | Path, format: str = "pairs") -> Path:
    """Write what people said.

    Args:
        queue: Who said what.
        path: The file.
        format: ``pairs``, ``judgements``, or ``label_studio``.

    Raises:
        ValueError: If the format is unknown.
    """
    if format not in EXPORTS:
        raise ValueError(f"format={format} must be one of {', '.join(EXPORTS)}.")
    write_text(Path(path), EXPORTS[format][1](queue))
    return Path(path)


def import_judgements(queue: Queue, path: str | Path) -> dict[str, int]:
    """Take judgements of a file into a queue. A second time changes nothing.

    Args:
        queue: It knows the comparisons.
        path: JSON lines, as `export` writes them. ``comparison``, ``verdict``, ``annotator`` and ``time`` (ISO 8601)
            are needed. What was taken back there (``undone``) is left out.

    Returns:
        How many were taken (``judgements``), and how many were left out because they are there already (``known``),
        were ``undone``, or their comparison is not in the queue (``unknown``).

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a line does not fit. The message names it. Nothing is taken then.
    """
    return take(queue, [placed.parse(_said) for placed in read_records(path)])


def _said(record: Record) -> Said:
    judgement = Judgement(
        str(record["comparison"]),
        record["verdict"],
        _name(record),
        str(record["time"]),
        _number(record, "margin") or 0.0,
        str(record.get("remark") or ""),
    )
    role: Role = record.get("role") or "label"
    if role not in ("label", "resolution"):
        raise ValueError(f"role={role!r} must be label or resolution.")
    first_is_left = record.get("first_is_left")
    if first_is_left not in (None, True, False):
        raise ValueError(f"first_is_left={first_is_left!r} must be true, false or null.")
    return Said(judgement, role, first_is_left, _number(record, "seconds"), str(record.get("undone") or ""))


def _name(record: Record) -> str:
    name = record["annotator"]
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"annotator={name!r} must be a name.")
    return name


def _number(record: Record, name: str) -> float | None:
    value = record.get(name)
    if value is not None and not is_number(value):
        raise ValueError(f"{name}={value!r} must be a number.")
    return value


def _lines(records: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
