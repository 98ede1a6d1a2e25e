"""WARC and WET, gzip, zstd and plain. Damage costs the record that it hits, and what is not a page is counted."""

import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

from fastwarc.warc import ArchiveIterator, WarcRecord
from internlm2_records.streams import UNREADABLE, open_binary

from internlm2_data.io.framing import Framed, frame
from internlm2_data.io.items import Fault, Item, Passed
from internlm2_data.io.members import MAGIC, Piece, read_members

MAX_RECORD_BYTES = 32 << 20
PIECE_BYTES = 1 << 20
_HTML_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "application/xml", "text/xml")
_MIME = re.compile(r"[^\s;,]+")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_BROKEN = (OSError, ValueError, RuntimeError, EOFError)


def read_warc(path: Path) -> Iterator[Item | Fault | Passed]:
    """One item a response (or resource) that holds a page."""
    for framed in _framed(path):
        yield Fault(str(path), framed.offset, framed.fault) if framed.fault else _page(framed, path)


def read_wet(path: Path) -> Iterator[Item | Fault | Passed]:
    """One item a conversion record: text that Common Crawl extracted."""
    for framed in _framed(path):
        if framed.fault:
            yield Fault(str(path), framed.offset, framed.fault)
            continue
        try:
            record = _parsed(framed)
            if _type(record) == "conversion":
                yield Item(record.reader.read(MAX_RECORD_BYTES), record=_about(record, framed.offset, path))
            else:
                yield Passed(f"WARC record of type {_type(record)}")
        except _BROKEN as error:
            yield Fault(str(path), framed.offset, f"damaged WARC record: {error}")


def _framed(path: Path) -> Iterator[Framed]:
    """Records of a WARC, whole or damaged, with their offsets."""
    with path.open("rb") as stream:
        begin = stream.read(8)
    if not begin:
        yield Framed(0, b"", "the file is empty")
    elif begin.startswith(MAGIC):
        yield from frame(read_members(path), False, MAX_RECORD_BYTES)
    else:
        yield from frame(_pieces(path), not path.name.endswith(".zst"), MAX_RECORD_BYTES)


def _pieces(path: Path) -> Iterator[Piece]:
    """Content of a plain file, or one that is compressed as a whole, whose offsets are then those of the content."""
    offset = 0
    try:
        with open_binary(path) as stream:
            while data := stream.read(PIECE_BYTES):
                yield Piece(offset, data)
                offset += len(data)
    except UNREADABLE as error:
        yield Piece(offset, b"", f"the rest cannot be decompressed: {error}")


def _parsed(framed: Framed) -> WarcRecord:
    # Content-Length bounds the record. Without blank lines after it fastwarc finds no end.
    return next(ArchiveIterator(BytesIO(framed.data + b"\r\n\r\n"), parse_http=False, quirks_mode=True))


def _type(record: WarcRecord) -> str:
    return str(record.headers.get("WARC-Type") or "").lower()


def _page(framed: Framed, path: Path) -> Item | Fault | Passed:
    try:
        record = _parsed(framed)
        if _type(record) not in ("response", "resource"):
            return Passed(f"WARC record of type {_type(record)}")
        if not (record.headers.get("WARC-Target-URI") or "").strip("<>").startswith(("http://", "https://")):
            return Passed("WARC record of no http address")
        return _response(record, framed, path)
    except StopIteration:
        return Fault(str(path), framed.offset, "damaged WARC record: it cannot be parsed")
    except _BROKEN as error:
        return Fault(str(path), framed.offset, f"damaged HTTP response: {error}")


def _response(record: WarcRecord, framed: Framed, path: Path) -> Item | Fault | Passed:
    data = _body(record)
    if data is None:
        # Archives keep the header "chunked" with bodies that are whole already.
        record = _parsed(framed)
        data = _body(record, decode="content") or b""
    headers = record.http_headers
    told = (headers.get("Content-Type") if headers is not None else record.http_content_type) or ""
    kind = mime.group().lower() if (mime := _MIME.search(told)) else ""
    status = headers.status_code if headers is not None else 200
    if status != 200:
        return Passed(f"HTTP status {status}")
    if kind and kind not in _HTML_TYPES:
        return Passed(f"HTTP content of type {kind}")
    if len(data) > MAX_RECORD_BYTES:
        return Fault(str(path), framed.offset, f"a page of more than {MAX_RECORD_BYTES} bytes")
    charset = told_charset.group(1) if (told_charset := _CHARSET.search(told)) else ""
    return Item(data, html=kind != "text/plain", charset=charset, record=_about(record, framed.offset, path))


def _body(record: WarcRecord, decode: Literal["all", "content"] = "all") -> bytes | None:
    """The body of a response, None where it is not encoded as its header says.

    Args:
        record: The record.
        decode: Which encodings to undo: of content and transfer ("all"), or of content.
    """
    try:
        record.parse_http(auto_decode=decode, quirks_mode=True)
        return bytes(record.reader.read(MAX_RECORD_BYTES + 1))
    except _BROKEN as error:
        if decode == "all" and "chunk" in str(error):
            return None
        raise


def _about(record: WarcRecord, offset: int, path: Path) -> dict[str, Any]:
    date = record.record_date
    return {
        "url": (record.headers.get("WARC-Target-URI") or "").strip("<>"),
        "date": date.strftime("%Y-%m-%dT%H:%M:%SZ") if date else "",
        "meta": {"file": path.name, "offset": offset},
    }
