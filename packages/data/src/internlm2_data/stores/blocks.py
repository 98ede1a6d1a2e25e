"""Ranges of large files in stores, through a cache of blocks on this machine.

    folder/262144x2048/SET/FILE-BLOCK      one file a block, written whole or not at all

A block belongs to one of the sets, by its name, and a set holds so many blocks at most: the one that was not read for
the longest time goes. So the folder is bounded without anybody having to count, and processes share it, at the same
time and one after the other, without a lock.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from internlm2_data.stores.files import StoreFile, cache_folder, read_range

SET_BLOCKS = 64
"""Blocks of a set. Of fewer, sets fill up unevenly. More take longer to look through."""

REQUESTS = 16
"""What a process asks of a store at the same time."""


@dataclass(frozen=True)
class BlockCache:
    """Reads ranges of files, whole blocks at a time, and keeps these.

    Attributes:
        limit_bytes: Bytes of all blocks at most. Requests that end at the same moment may exceed it by a block each.
        block_bytes: Bytes of a block. A document of a token file takes a few thousand bytes. Larger blocks take fewer
            requests where neighbours are read too, and more bytes where they are not.
        folder: Where blocks are. None takes ``internlm2/stores/blocks`` in the user's cache.

    Raises:
        ValueError: If ``block_bytes`` is below 1 or above ``limit_bytes``.
    """

    limit_bytes: int = 32 << 30
    block_bytes: int = 256 << 10
    folder: str | Path | None = None

    def __post_init__(self) -> None:
        """Check the sizes."""
        if not 1 <= self.block_bytes <= self.limit_bytes:
            raise ValueError(f"block_bytes={self.block_bytes} must be between 1 and limit_bytes={self.limit_bytes}.")

    def read(self, file: StoreFile, start: int, stop: int) -> bytes:
        """Bytes `[start, stop)` of a file.

        Args:
            file: The file.
            start: First byte.
            stop: The byte after the last one, at most the file's size.

        Raises:
            StoreError: If the store does not give what is not here.
        """
        size = self.block_bytes
        parts = {
            number: self._held(file, number, max(start - number * size, 0), min(stop - number * size, size))
            for number in self._numbers(start, stop)
        }
        missing = [number for number, part in parts.items() if part is None]
        if missing:
            # In one request, with what lies between.
            first, last = missing[0] * size, min((missing[-1] + 1) * size, file.size_bytes)
            data = read_range(file, first, last)
            for number in range(missing[0], missing[-1] + 1):
                block = data[number * size - first : (number + 1) * size - first]
                if parts[number] is None:
                    self._keep(file, number, block)
                parts[number] = block[max(start - number * size, 0) : stop - number * size]
        return b"".join(part for part in parts.values() if part is not None)

    def fetch(self, ranges: Sequence[tuple[StoreFile, int, int]]) -> None:
        """Have ranges here that are about to be read, and ask the store for several of them at the same time.

        Args:
            ranges: File, first byte, and the byte after the last one.

        Raises:
            StoreError: If the store does not give what is not here.
        """
        missing = [each for each in ranges if not self._is_here(*each)]
        if len(missing) > 1:
            with ThreadPoolExecutor(REQUESTS) as pool:
                for _ in pool.map(lambda each: self.read(*each), missing):
                    pass

    def _is_here(self, file: StoreFile, start: int, stop: int) -> bool:
        return all(self._path(file, number).exists() for number in self._numbers(start, stop))

    def _numbers(self, start: int, stop: int) -> range:
        return range(start // self.block_bytes, -(-stop // self.block_bytes))

    @cached_property
    def _sets(self) -> int:
        return max(1, self.limit_bytes // (self.block_bytes * SET_BLOCKS))

    @cached_property
    def _blocks_of_set(self) -> int:
        return min(SET_BLOCKS, self.limit_bytes // self.block_bytes)

    @cached_property
    def _root(self) -> Path:
        return Path(self.folder or cache_folder() / "blocks") / f"{self.block_bytes}x{self._sets}"

    def _path(self, file: StoreFile, number: int) -> Path:
        key = sha256(f"{file.url} {file.stamp}".encode()).hexdigest()[:24]
        place = int.from_bytes(sha256(f"{key}-{number}".encode()).digest()[:8]) % self._sets
        return self._root / f"{place:06d}" / f"{key}-{number}"

    def _held(self, file: StoreFile, number: int, start: int, stop: int) -> bytes | None:
        """Bytes `[start, stop)` of a block that is here. None where it is not."""
        path = self._path(file, number)
        try:
            with path.open("rb") as block:
                block.seek(start)
                data = block.read(stop - start)
                os.utime(block.fileno())
        except FileNotFoundError:
            return None
        # A machine that lost power may leave a block shorter than it was.
        return data if len(data) == stop - start else None

    def _keep(self, file: StoreFile, number: int, data: bytes) -> None:
        path = self._path(file, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{uuid4().hex}.part")
        for old in _oldest_first(path.parent)[: 1 - self._blocks_of_set or None]:
            old.unlink(missing_ok=True)
        part.write_bytes(data)
        # Another process may have taken the part for an old block. Then it is read again another time.
        with suppress(FileNotFoundError):
            part.replace(path)


def _oldest_first(folder: Path) -> list[Path]:
    ages = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            ages.append((entry.stat().st_mtime_ns, entry.path))
    return [Path(path) for _, path in sorted(ages)]
