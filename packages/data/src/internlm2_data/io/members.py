"""The members of a gzip file, each checked against its checksum.

A gzip WARC is a row of members, most often one a record, so that damage stays local: after a member that cannot be
read, reading starts again at the next one. Readers that do not check the sum take the rest of a cut-off member for
data and lose the next one with it.
"""

import mmap
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC = b"\x1f\x8b\x08"
CHUNK = 1 << 16
# Members larger than this are passed on in parts, before their checksum is known.
MAX_HELD = 32 << 20
_BGZIP = slice(12, 16), b"BC\x02\x00"


class Piece(NamedTuple):
    """A part of a file's content, in order.

    Attributes:
        offset: Of its first byte in the file, or of the member that it comes from.
        data: The bytes, empty where there is a fault.
        fault: Why the content that belongs here cannot be read.
    """

    offset: int
    data: bytes
    fault: str = ""


def read_members(path: Path) -> Iterator[Piece]:
    """The content of a gzip file, a member at a time, damaged ones as faults.

    Args:
        path: The file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        position = 0
        while position < len(view):
            if view[position : position + 3] != MAGIC:
                yield Piece(position, b"", "no gzip member begins here")
                position = _next_member(view, position + 1)
                continue
            end = yield from _unpack(view, position)
            position = _next_member(view, position + 1) if end < 0 else end


def _next_member(view: mmap.mmap | bytes, start: int) -> int:
    """Offset of the first member at or after `start`, or the end."""
    at = view.find(MAGIC, start)
    while at >= 0 and not _is_member(view[at : at + 512]):
        at = view.find(MAGIC, at + 1)
    return len(view) if at < 0 else at


def _is_member(data: bytes) -> bool:
    """Whether a gzip member begins here that holds a WARC record, or a block of bgzip."""
    try:
        begin = zlib.decompressobj(31).decompress(data, 16)
    except zlib.error:
        return False
    return begin.startswith(b"WARC/") or data[_BGZIP[0]] == _BGZIP[1]


def _unpack(view: mmap.mmap, start: int) -> Generator[Piece, None, int]:
    """The content of the member at `start`. Returns its end, -1 where it cannot be known."""
    unpacker, parts, size, position = zlib.decompressobj(31), [], 0, start
    pending = b""
    try:
        while not unpacker.eof:
            chunk = pending or view[position : position + CHUNK]
            position += 0 if pending else len(chunk)
            if not chunk:
                yield Piece(start, b"", "the member is cut off by the end of the file")
                return -1
            parts.append(unpacker.decompress(chunk, CHUNK << 4))
            pending = unpacker.unconsumed_tail
            size += len(parts[-1])
            if size > MAX_HELD:
                yield Piece(start, b"".join(parts))
                parts = []
    except zlib.error as error:
        yield Piece(start, b"", f"damaged member: {error}")
        return -1
    yield Piece(start, b"".join(parts))
    return position - len(unpacker.unused_data)
