"""Documents of any input: those that a stage wrote as they are, others with the id and language that they lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from internlm2_data.document import Document
from internlm2_data.io.inputs import read_items
from internlm2_data.io.items import Fault, Item

_ID = re.compile(r"[0-9a-f]{32}")


def read_documents(path: Path) -> Iterator[Document | Fault]:
    """Documents of one file, with faults in between. HTML is refused: it has to go through Format first."""
    for number, item in enumerate(read_items(path)):
        if isinstance(item, Fault):
            yield item
        elif item.html:
            yield Fault(str(path), number, "HTML: run it through `internlm2 process pipeline=web` first", "item")
        else:
            yield _document(item)


def _document(item: Item) -> Document:
    text = item.content if isinstance(item.content, str) else item.content.decode("utf-8", "replace")
    record = dict(item.record)
    if not _ID.fullmatch(str(record.get("id", ""))):
        record.pop("id", None)
    return Document.from_json({"text": text, **record})
