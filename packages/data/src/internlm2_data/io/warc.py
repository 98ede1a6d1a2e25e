"""WARC and WET.

A gzip WARC is a row of gzip members, one a record, so that damage stays local: after a member that cannot
be read, reading starts again at the next one that begins with a WARC header, and the damage is reported
with its offset.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from internlm2_data.io.items import Fault, Item

MAX_RECORD_BYTES = 32 << 20
_GZIP_MAGIC = b"\x1f\x8b\x08"
_HTML_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "application/xml", "text/xml")


def read_warc(path: Path) -> Iterator[Item | Fault]:
    """One item a response (or resource) that holds a page."""
    for record in read_records(path, WarcRecordType.response | WarcRecordType.resource):
        if isinstance(record, Fault):
            yield record
        elif (item := _page(record, path)) is not None:
            yield item


def read_wet(path: Path) -> Iterator[Item | Fault]:
    """One item a conversion record: text that Common Crawl extracted."""
    for record in read_records(path, WarcRecordType.conversion):
        if isinstance(record, Fault):
            yield record
            continue
        data = record.reader.read(MAX_RECORD_BYTES)
        yield Item(data, record=_about(record, path))


def read_records(path: Path, types: WarcRecordType) -> Iterator[WarcRecord | Fault]:
    """Records of a WARC, whole or damaged."""
    size, start = path.stat().st_size, 0
    with path.open("rb") as stream:
        if not size or not _begins_record(stream.read(1 << 12)):
            yield Fault(str(path), 0, "no WARC record at the beginning of the file" if size else "the file is empty")
            start = next_record(stream, 0, size)
        while start < size:
            stream.seek(start)
            last = start
            try:
                for record in ArchiveIterator(stream, parse_http=False, max_header_len=1 << 20, quirks_mode=True):
                    last = max(last, record.stream_pos)
                    if record.record_type & types:
                        yield record
                if _is_cut_off(stream, last):
                    yield Fault(str(path), last, "the record is cut off by the end of the file")
                return
            except (OSError, ValueError, RuntimeError, EOFError) as error:
                yield Fault(str(path), last, f"damaged WARC record: {error}")
                start = next_record(stream, last + 1, size)


def next_record(stream: IO[bytes], start: int, size: int) -> int:
    """Offset of the first record at or after `start`; `size` where there is none."""
    stream.seek(0)
    compressed = stream.read(3) == _GZIP_MAGIC
    magic, chunk = (_GZIP_MAGIC, 1 << 20) if compressed else (b"WARC/1.", 1 << 20)
    position = start
    while position < size:
        stream.seek(position)
        block = stream.read(chunk + 64)
        at = block.find(magic)
        while at >= 0:
            if not compressed or _begins_record(block[at : at + 64]):
                return position + at
            at = block.find(magic, at + 1)
        position += chunk
    return size


def _begins_record(data: bytes) -> bool:
    if data.startswith(b"WARC/"):
        return True
    try:
        return zlib.decompressobj(31).decompress(data, 16).startswith(b"WARC/")
    except zlib.error:
        # Other compressions (zstd, LZ4) are left to the reader.
        return data.startswith((b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\x50\x2a\x4d\x18", b"\x5d\x2a\x4d\x18"))


def _is_cut_off(stream: IO[bytes], last: int) -> bool:
    """Whether the gzip member at `last` lacks its end, which the reader passes over in silence."""
    stream.seek(last)
    data = stream.read(1 << 16)
    if not data.startswith(_GZIP_MAGIC):
        return False
    member = zlib.decompressobj(31)
    while data and not member.eof:
        member.decompress(data)
        data = stream.read(1 << 16)
    return not member.eof


def _page(record: WarcRecord, path: Path) -> Item | Fault | None:
    if not (record.headers.get("WARC-Target-URI") or "").strip("<>").startswith(("http://", "https://")):
        return None
    try:
        record.parse_http(auto_decode="all", quirks_mode=True)
        kind = (record.http_content_type or "").lower()
        status = record.http_headers.status_code if record.http_headers is not None else 200
        if status != 200 or (kind and kind not in _HTML_TYPES):
            return None
        data = record.reader.read(MAX_RECORD_BYTES + 1)
    except (OSError, ValueError, RuntimeError, EOFError) as error:
        return Fault(str(path), record.stream_pos, f"damaged HTTP response: {error}")
    if len(data) > MAX_RECORD_BYTES:
        return Fault(str(path), record.stream_pos, f"a page of more than {MAX_RECORD_BYTES} bytes")
    charset = record.http_charset or ""
    return Item(data, html=kind != "text/plain", charset=charset, record=_about(record, path))


def _about(record: WarcRecord, path: Path) -> dict[str, Any]:
    date = record.record_date
    return {
        "url": (record.headers.get("WARC-Target-URI") or "").strip("<>"),
        "date": date.strftime("%Y-%m-%dT%H:%M:%SZ") if date else "",
        "meta": {"file": path.name, "offset": record.stream_pos},
    }
