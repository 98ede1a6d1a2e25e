"""Where the records of a WARC begin and end, whatever lies between them.

A record is a header with its Content-Length, that many bytes, and blank lines. Where the next one does not begin there,
what was written in between is a fault, and reading continues at the next line that says WARC and a version.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import NamedTuple

from internlm2_data.io.members import Piece

MAX_HEADER_BYTES = 1 << 20
_VERSION = re.compile(rb"WARC/[01]\.\d\d?\r?\n")  # drafts of 2008 are 0.17 and 0.18
_BLANK_LINE = re.compile(rb"\r?\n\r?\n")
_LENGTH = re.compile(rb"^Content-Length:[ \t]*(\d+)[ \t]*\r?$", re.IGNORECASE | re.MULTILINE)
_SPACE = re.compile(rb"\s*")
# The longest version line.
_OVERLAP = 16


class Framed(NamedTuple):
    """One record.

    Attributes:
        offset: Where it begins.
        data: Header and content, empty where there is a fault.
        fault: Why no record could be read here.
    """

    offset: int
    data: bytes
    fault: str = ""


def frame(pieces: Iterable[Piece], plain: bool, max_bytes: int) -> Iterator[Framed]:
    """The records of a WARC, which need not begin where pieces do.

    Args:
        pieces: Its content in order.
        plain: Whether bytes of pieces are bytes of the file, so that records have offsets of their own.
        max_bytes: A longer record is a fault. It is passed over in bounded memory.
    """
    for bad, run in groupby(pieces, key=lambda piece: bool(piece.fault)):
        if bad:
            yield from (Framed(piece.offset, b"", piece.fault) for piece in run)
        else:
            yield from _records(_Held(run, plain), max_bytes)


def _records(held: "_Held", max_bytes: int) -> Iterator[Framed]:
    while held.begin():
        at = held.offset
        if not _VERSION.match(held.data):
            held.drop_to_version()
            yield Framed(at, b"", "no WARC record begins here")
            continue
        header = held.header()
        length = _LENGTH.search(header) if header else None
        if length is None:
            held.drop_to_version()
            yield Framed(at, b"", "damaged WARC record: its header has no end or no Content-Length")
            continue
        size = len(header) + int(length.group(1))
        if int(length.group(1)) > max_bytes:
            held.skip(size)
            yield Framed(at, b"", f"a record of more than {max_bytes} bytes")
        elif not held.ends_at(size) and _VERSION.search(held.data, 1, min(size, len(held.data))):
            held.drop_to_version()
            yield Framed(at, b"", "damaged WARC record: another begins before its end")
        elif len(held.data) < size:
            held.skip(size)
            yield Framed(at, b"", "damaged WARC record: it is cut off")
        else:
            yield Framed(at, held.take(size))


class _Held:
    """Content that was read and not used yet."""

    def __init__(self, pieces: Iterator[Piece], plain: bool) -> None:
        self.data = bytearray()
        self._pieces, self._plain = pieces, plain
        # Position in `data` and offset in the file of what each piece left here.
        self._marks: list[tuple[int, int]] = []

    @property
    def offset(self) -> int:
        """Where the first byte comes from."""
        position, offset = self._marks[0]
        return offset - position if self._plain else offset

    def begin(self) -> bool:
        """Drop white space, and say whether there is anything left."""
        while True:
            self._drop(self._after_space(0))
            if self.data:
                self._need(_OVERLAP)
                return True
            if not self._more():
                return False

    def header(self) -> bytes:
        """The header with its blank line, empty where none ends before the next record begins."""
        start = 0
        while not (end := _BLANK_LINE.search(self.data, start)):
            start = max(0, len(self.data) - 4)
            if len(self.data) > MAX_HEADER_BYTES or not self._more():
                return b""
        found = bytes(self.data[: end.end()])
        return b"" if _VERSION.search(found, 1) else found

    def ends_at(self, size: int) -> bool:
        """Whether the next record, or nothing, comes after `size` bytes."""
        while (start := self._after_space(size)) + _OVERLAP > len(self.data):
            if not self._more():
                break
        return len(self.data) >= size and (start == len(self.data) or _VERSION.match(self.data, start) is not None)

    def take(self, size: int) -> bytes:
        """The first `size` bytes, which are dropped."""
        taken = bytes(self.data[:size])
        self._drop(size)
        return taken

    def skip(self, size: int) -> None:
        """Drop `size` bytes without holding them."""
        while size > len(self.data):
            size -= len(self.data)
            self._drop(len(self.data))
            if not self._more():
                return
        self._drop(size)

    def drop_to_version(self) -> None:
        """Drop the first byte and all up to the next version line."""
        self._drop(1)
        while not (found := _VERSION.search(self.data)):
            self._drop(max(0, len(self.data) - _OVERLAP))
            if not self._more():
                self._drop(len(self.data))
                return
        self._drop(found.start())

    def _after_space(self, start: int) -> int:
        return match.end() if (match := _SPACE.match(self.data, start)) else start

    def _need(self, size: int) -> None:
        while len(self.data) < size and self._more():
            pass

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._marks.append((len(self.data), piece.offset))
        self.data += piece.data
        return True

    def _drop(self, size: int) -> None:
        if not size:
            return
        del self.data[:size]
        marks = [(position - size, offset) for position, offset in self._marks]
        # Of the marks before the first byte left, the last one says where that comes from.
        while len(marks) > 1 and marks[1][0] <= 0:
            del marks[0]
        self._marks = marks
