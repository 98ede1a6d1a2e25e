"""JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from internlm2_records.streams import MAX_LINE_BYTES, UNREADABLE, bounded_lines, open_binary

from internlm2_data.io.items import Fault, Item

TEXT_KEYS = ("text", "content", "raw_content")


def read_jsonl(path: Path) -> Iterator[Item | Fault]:
    """One item a line. The text is under `text`, `content` or `raw_content`; other keys are kept."""
    number = 0
    try:
        with open_binary(path) as stream:
            for number, line in enumerate(bounded_lines(stream), 1):
                if line is None:
                    yield Fault(str(path), number, f"a line of more than {MAX_LINE_BYTES} bytes", "line")
                elif line.strip():
                    yield parse_line(line, str(path), number)
    except UNREADABLE as error:
        # A truncated or damaged archive: what came before is good.
        yield Fault(str(path), number + 1, f"the rest cannot be decompressed: {error}", "line")


def parse_line(line: bytes, file: str, number: int) -> Item | Fault:
    """The item of one line."""
    try:
        record = orjson.loads(line)
    except ValueError:
        # Invalid UTF-8, lone surrogates and NaN are refused above, and not rare in the wild.
        try:
            record = json.loads(line.decode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            return Fault(file, number, f"broken JSON: {error}", "line")
    return item_of(record, file, number, "line")


def item_of(record: Any, file: str, number: int, unit: str) -> Item | Fault:
    """An item from a mapping with a text."""
    key = next((k for k in TEXT_KEYS if isinstance(record, dict) and isinstance(record.get(k), str)), None)
    if key is None:
        return Fault(file, number, f"no string under {' or '.join(TEXT_KEYS)}", unit)
    text = record.pop(key)
    return Item(text, record={k: v for k, v in record.items() if v is not None})
