"""Opening files that may be compressed, with bounded memory per line."""

import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO, cast

import zstandard

MAX_LINE_BYTES = 64 << 20
UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)


def open_binary(path: Path) -> BinaryIO:
    """The decompressed bytes of a plain, gzip or zstd file."""
    if path.name.endswith(".gz"):
        return cast(BinaryIO, gzip.open(path, "rb"))
    if path.name.endswith(".zst"):
        raw = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
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
