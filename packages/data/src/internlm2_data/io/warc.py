"""WARC and WET, gzip (a member a record, or as a whole), zstd and plain. Damage costs the record that it hits."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType

from internlm2_data.io.items import Fault, Item
from internlm2_data.io.members import CHUNK, MAGIC, OneLargeMemberError, read_members

MAX_RECORD_BYTES = 32 << 20
_HEADER = b"WARC/1."
_HTML_TYPES = ("text/html", "application/xhtml+xml", "text/plain", "application/xml", "text/xml")

Placed = tuple[WarcRecord, int]


def read_warc(path: Path) -> Iterator[Item | Fault]:
    """One item a response (or resource) that holds a page."""
    for placed in _read_records(path, WarcRecordType.response | WarcRecordType.resource):
        if isinstance(placed, Fault):
            yield placed
        elif (item := _page(*placed, path)) is not None:
            yield item


def read_wet(path: Path) -> Iterator[Item | Fault]:
    """One item a conversion record: text that Common Crawl extracted."""
    for placed in _read_records(path, WarcRecordType.conversion):
        if isinstance(placed, Fault):
            yield placed
        else:
            record, offset = placed
            yield Item(record.reader.read(MAX_RECORD_BYTES), record=_about(record, offset, path))


def _read_records(path: Path, types: WarcRecordType) -> Iterator[Placed | Fault]:
    """Records of a WARC, whole or damaged, with their offsets."""
    with path.open("rb") as stream:
        begin = stream.read(8)
    if not begin:
        yield Fault(str(path), 0, "the file is empty")
    elif begin.startswith(MAGIC):
        yield from _from_members(path, types)
    else:
        yield from _streamed(path, types)


def _from_members(path: Path, types: WarcRecordType) -> Iterator[Placed | Fault]:
    try:
        for member in read_members(path, MAX_RECORD_BYTES):
            if member.fault:
                yield Fault(str(path), member.offset, member.fault)
                continue
            found = False
            try:
                for record in ArchiveIterator(BytesIO(member.data), parse_http=False, quirks_mode=True):
                    found = True
                    if record.record_type & types:
                        yield record, member.offset
            except (OSError, ValueError, RuntimeError, EOFError) as error:
                yield Fault(str(path), member.offset, f"damaged WARC record: {error}")
                continue
            if not found:
                yield Fault(str(path), member.offset, "no WARC record in this gzip member")
    except OneLargeMemberError:
        yield from _streamed(path, types)


def _streamed(path: Path, types: WarcRecordType) -> Iterator[Placed | Fault]:
    """Records of a plain WARC, or one that is compressed as a whole."""
    size, start = path.stat().st_size, 0
    with path.open("rb") as stream:
        while start < size:
            stream.seek(start)
            last, found = start, False
            try:
                for record in ArchiveIterator(stream, parse_http=False, max_header_len=1 << 20, quirks_mode=True):
                    last, found = record.stream_pos, True
                    if record.record_type & types:
                        yield record, last
                if not found:
                    yield Fault(str(path), start, "no WARC record here")
                return
            except (OSError, ValueError, RuntimeError, EOFError) as error:
                yield Fault(str(path), last, f"damaged WARC record: {error}")
                start = _next_plain(stream, last + 1, size)


def _next_plain(stream: IO[bytes], start: int, size: int) -> int:
    """Offset of the next record of a plain WARC, or `size` where there is none."""
    while start < size:
        stream.seek(start)
        block = stream.read(CHUNK + len(_HEADER))
        if (at := block.find(_HEADER)) >= 0:
            return start + at
        start += CHUNK
    return size


def _page(record: WarcRecord, offset: int, path: Path) -> Item | Fault | None:
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
        return Fault(str(path), offset, f"damaged HTTP response: {error}")
    if len(data) > MAX_RECORD_BYTES:
        return Fault(str(path), offset, f"a page of more than {MAX_RECORD_BYTES} bytes")
    charset = record.http_charset or ""
    return Item(data, html=kind != "text/plain", charset=charset, record=_about(record, offset, path))


def _about(record: WarcRecord, offset: int, path: Path) -> dict[str, Any]:
    date = record.record_date
    return {
        "url": (record.headers.get("WARC-Target-URI") or "").strip("<>"),
        "date": date.strftime("%Y-%m-%dT%H:%M:%SZ") if date else "",
        "meta": {"file": path.name, "offset": offset},
    }
