"""Opening files that may be compressed, with bounded memory per line."""

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

MAX_LINE_BYTES = 64 << 20
UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError)
PACKED = (".gz", ".zst", ".xz", ".bz2")
"""Suffixes of compressed files."""
# What `zstd --long=31` writes, the largest window that zstd knows. The default limit is 128 MB.
_LARGEST_WINDOW = 1 << 31


def open_binary(path: Path) -> BinaryIO:
    """The bytes of a file, which is decompressed where its suffix is one of `PACKED`."""
    if path.name.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.name.endswith(".xz"):
        return cast(BinaryIO, lzma.open(path, "rb"))
    if path.name.endswith(".bz2"):
        return cast(BinaryIO, bz2.open(path, "rb"))
    if path.name.endswith(".zst"):
        unpacker = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        raw = unpacker.stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
        return cast(BinaryIO, io.BufferedReader(raw, 1 << 20))
    return path.open("rb")


def bounded_lines(stream: IO[bytes], limit: int = MAX_LINE_BYTES) -> Iterator[bytes | None]:
    """The lines of a stream. A line that is too long is skipped without being held in memory.

    Args:
        stream: An open file.
        limit: Most bytes of a line.

    Yields:
        Each line, or None for one of more than ``limit`` bytes.
    """
    while line := stream.readline(limit):
        if len(line) < limit or line.endswith(b"\n"):
            yield line
            continue
        while (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
            pass
        yield None
