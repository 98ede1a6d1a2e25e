"""Files that people called high, moderate or low."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from internlm2_records import Record, read_records

from internlm2_data.document import QUALITIES, Document, content_id

MAX_CHARACTERS = 20_000
"""Of a file that people see and that is scored."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A file and what people called it.

    Attributes:
        id: Of the document.
        text: Its text.
        language: Its programming language.
        label: One of `QUALITIES`.
        group: Files that are never split between training and measuring: those of a repository.
        path: Where it is in its repository.
        seen: In how many files of labels it is.
    """

    id: str
    text: str
    language: str
    label: str
    group: str
    path: str = ""
    seen: int = 1


def read_labels(paths: Iterable[str | Path]) -> tuple[list[Labelled], int]:
    """All labels of some files. Of several for one document the last one counts.

    Args:
        paths: Files of any format of `internlm2_records`, the oldest first. A record has ``text``, ``language`` and
            ``label``, and may have ``id``, ``repository`` and ``path``.

    Returns:
        The labelled files in the order of their ids, and how many records have no label yet.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If a record lacks a text or language, or has another label. The message begins with its place.
    """
    found: dict[str, Labelled] = {}
    empty = 0
    for path in paths:
        own: dict[str, Labelled] = {}
        for placed in read_records(path):
            file = placed.parse(_labelled)
            if file is None:
                empty += 1
            else:
                own[file.id] = replace(file, seen=found[file.id].seen + 1) if file.id in found else file
        found |= own
    return sorted(found.values(), key=lambda file: file.id), empty


def write_to_label(path: Path, rows: Sequence[tuple[Document, Record]]) -> None:
    """Write documents for people, whole or not at all.

    Args:
        path: JSONL file to write. ``label`` of each line is null, for people to fill in.
        rows: Each document, and what else its line says.
    """
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as out:
        for document, about in rows:
            line = {"label": None, **about, "language": document.language, **_place(document), "id": document.id}
            out.write(json.dumps({**line, "text": document.text[:MAX_CHARACTERS]}, ensure_ascii=False) + "\n")
    part.replace(path)


def _place(document: Document) -> dict[str, str]:
    return {key: str(document.meta[key]) for key in ("repository", "path") if key in document.meta}


def _labelled(record: Record) -> Labelled | None:
    text, language, label = (record.get(key) for key in ("text", "language", "label"))
    if not isinstance(text, str) or not isinstance(language, str):
        raise ValueError(f"It must have strings under text and language, and has the keys {sorted(record)}.")
    if label in (None, ""):
        return None
    if label not in QUALITIES:
        raise ValueError(f"label={label} must be one of {', '.join(QUALITIES)}, or null.")
    id = str(record.get("id") or content_id(text))
    group = str(record.get("repository") or id)
    return Labelled(id, text[:MAX_CHARACTERS], language, str(label), group, str(record.get("path") or ""))
