"""Text and HTML files, one document a file."""

from collections.abc import Iterator
from pathlib import Path

from internlm2_records.streams import MAX_LINE_BYTES, open_binary

from internlm2_data.io.items import Fault, Item


def read_text(path: Path) -> Iterator[Item | Fault]:
    """A text file in any encoding."""
    data = _content(path)
    yield data if isinstance(data, Fault) else Item(data, record={"url": path.resolve().as_uri(), "type": "prose"})


def read_html(path: Path) -> Iterator[Item | Fault]:
    """A saved web page."""
    data = _content(path)
    yield data if isinstance(data, Fault) else Item(data, html=True, record={"url": path.resolve().as_uri()})


def _content(path: Path) -> bytes | Fault:
    with open_binary(path) as stream:
        data = stream.read(MAX_LINE_BYTES + 1)
    if len(data) > MAX_LINE_BYTES:
        return Fault(str(path), MAX_LINE_BYTES, f"more than {MAX_LINE_BYTES} bytes in one document")
    return data
