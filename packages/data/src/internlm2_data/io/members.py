"""The members of a gzip file, each checked against its checksum.

A gzip WARC is a row of members, one a record, so that damage stays local: after a member that cannot be read,
reading starts again at the next one that begins with a WARC header. Readers that do not check the sum take the rest
of a cut-off member for data and lose the next one with it.
"""

import mmap
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

MAGIC = b"\x1f\x8b\x08"
CHUNK = 1 << 16


class Member(NamedTuple):
    """One member.

    Attributes:
        offset: Of its first byte in the file.
        data: Its content, empty where that is a fault.
        fault: What is wrong with it, if anything.
    """

    offset: int
    data: bytes
    fault: str = ""


class OneLargeMemberError(Exception):
    """The file is compressed as a whole, not member by member."""


def read_members(path: Path, max_bytes: int) -> Iterator[Member]:
    """The members of a file, damaged ones as faults.

    Args:
        path: The file.
        max_bytes: A member that unpacks to more is a fault. It is passed over in bounded memory.

    Raises:
        OneLargeMemberError: If the first member is larger than that and makes up the whole file.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        position = 0
        while position < len(view):
            if view[position : position + 3] != MAGIC:
                yield Member(position, b"", "no gzip member begins here")
                position = _next_member(view, position + 1)
                continue
            data, end, fault = _unpack(view, position, max_bytes)
            if position == 0 and end == len(view) and len(data) > max_bytes:
                raise OneLargeMemberError
            yield Member(position, b"" if fault else data, fault)
            position = _next_member(view, position + 1) if end < 0 else end


def _next_member(view: mmap.mmap | bytes, start: int) -> int:
    """Offset of the first member at or after `start` that holds a WARC record, or the end."""
    at = view.find(MAGIC, start)
    while at >= 0 and not begins_record(view[at : at + 512]):
        at = view.find(MAGIC, at + 1)
    return len(view) if at < 0 else at


def begins_record(data: bytes) -> bool:
    """Whether a gzip member that begins here holds a WARC record."""
    try:
        return zlib.decompressobj(31).decompress(data, 16).startswith(b"WARC/")
    except zlib.error:
        return False


def _unpack(view: mmap.mmap, start: int, max_bytes: int) -> tuple[bytes, int, str]:
    """Content, end (-1 where it cannot be known) and fault of the member at `start`."""
    unpacker, parts, size, position = zlib.decompressobj(31), [], 0, start
    pending = b""
    try:
        while not unpacker.eof:
            chunk = pending or view[position : position + CHUNK]
            position += 0 if pending else len(chunk)
            if not chunk:
                return b"", -1, "the member is cut off by the end of the file"
            part = unpacker.decompress(chunk, CHUNK << 4)
            pending = unpacker.unconsumed_tail
            size += len(part)
            if size <= max_bytes + 1:
                parts.append(part)
    except zlib.error as error:
        return b"", -1, f"damaged member: {error}"
    end = position - len(unpacker.unused_data)
    fault = f"a record of more than {max_bytes} bytes" if size > max_bytes else ""
    return b"".join(parts) if size <= max_bytes else b"\0" * (max_bytes + 1), end, fault
