"""Documents of any input: those that a stage wrote as they are, others with the id and language that they lack."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from internlm2_data.document import TYPES, Document
from internlm2_data.io.inputs import read_items
from internlm2_data.io.items import Fault, Item, Passed
from internlm2_data.stores import InputFile
from internlm2_data.web.charset import decode
from internlm2_data.web.formatting import known_fields
from internlm2_data.web.language import identify

_ID = re.compile(r"[0-9a-f]{32}")


def read_documents(file: InputFile) -> Iterator[Document | Fault | Passed]:
    """Documents of one file, with what is none in between. HTML is refused: it has to go through Format first."""
    for number, item in enumerate(read_items(file)):
        if isinstance(item, Fault | Passed):
            yield item
        elif item.html:
            yield Fault(str(file), number, "HTML: run it through `internlm2 process pipeline=web` first", "item")
        else:
            yield _document(item)


def documents_of(files: Iterable[InputFile]) -> Iterator[Document]:
    """The documents of files, without what is none."""
    for file in files:
        yield from (document for document in read_documents(file) if isinstance(document, Document))


def _document(item: Item) -> Document:
    text = item.content if isinstance(item.content, str) else decode(item.content, html=False)[0]
    record = item.record if _is_ours(item.record) else known_fields(item.record)
    # Cells, shares of the vocabulary and thresholds go by language.
    return Document.from_json({**record, "text": text, "language": record.get("language") or identify(text)})


def _is_ours(record: dict[str, Any]) -> bool:
    """Whether a stage wrote it. Others may have what they like under a document's names."""
    if record.get("type", "webpage") not in TYPES:
        return False
    lists = isinstance(record.get("meta", {}), dict) and isinstance(record.get("trail", []), list)
    return lists and _ID.fullmatch(str(record.get("id", ""))) is not None
