"""Files of stores, and reading them."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from internlm2_data.stores.asking import FINAL, StoreError, opened, patiently, told

# What stores say of a file that changes with its content, the surest first.
_MARKS = (
    *("ETag", "etag", "md5Hash", "blob_id", "Content-MD5"),
    *("mtime", "LastModified", "Last-Modified", "last_modified", "created"),
)


@dataclass(frozen=True, slots=True)
class StoreFile:
    """A file of a store.

    Attributes:
        url: Its whole name, such as ``s3://bucket/crawl/a.warc.gz``.
        size_bytes: Bytes of it.
        stamp: Changes with its content.
    """

    url: str
    size_bytes: int
    stamp: str

    @property
    def name(self) -> str:
        """Its name without its folder."""
        return PurePosixPath(self.url).name

    def __str__(self) -> str:
        return self.url


InputFile = Path | StoreFile
"""A file of this machine or of a store."""


def is_remote(name: object) -> bool:
    """Whether a name is that of a file or folder in a store, such as ``s3://bucket/crawl``."""
    return "://" in str(name)


def cache_folder() -> Path:
    """Where copies are: ``internlm2/stores`` in the user's cache (``XDG_CACHE_HOME``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "internlm2" / "stores"


def size_of(file: InputFile) -> int:
    """Bytes of a file."""
    return file.size_bytes if isinstance(file, StoreFile) else file.stat().st_size


def store_file(name: str) -> StoreFile:
    """A file of a store as it is now.

    Args:
        name: Such as ``s3://bucket/a.jsonl``.

    Raises:
        FileNotFoundError: If there is no such file.
        StoreError: If the store does not answer.
    """
    store, path = opened(name)
    try:
        about = patiently(lambda: store.info(path), name)
    except FileNotFoundError:
        about = {}
    if about.get("type") != "file":
        raise FileNotFoundError(f"{name} does not exist.")
    return described(store, path, about)


def read_range(file: StoreFile, start: int, stop: int) -> bytes:
    """Bytes `[start, stop)` of a file of a store.

    Args:
        file: The file.
        start: First byte.
        stop: The byte after the last one, at most the file's size.

    Raises:
        StoreError: If the store does not give them.
    """
    store, path = opened(file.url)

    def read() -> bytes:
        data = bytes(store.cat_file(path, start=start, end=stop))
        if len(data) != stop - start:
            raise OSError(f"It gave {len(data)} bytes of {stop - start}.")
        return data

    return patiently(read, file.url)


@contextmanager
def here(file: InputFile) -> Iterator[Path]:
    """A file on this machine while it is needed: itself, or a copy that is removed at the end.

    Args:
        file: The file. Its copy has its name, in a folder of its own in the temporary folder (``TMPDIR``).

    Raises:
        StoreError: If the store does not give it.
        RuntimeError: If this machine has no room for it.
    """
    if isinstance(file, Path):
        yield file
        return
    try:
        folder = TemporaryDirectory(prefix="internlm2-")
    except OSError as error:
        raise RuntimeError(f"{file} cannot be copied to this machine: {error}.") from error
    with folder as name:
        copy = Path(name) / file.name
        _get(file, copy)
        yield copy


def fetched(file: StoreFile) -> Path:
    """The copy of a small file of a store in the user's cache. It is made where no copy has the same content.

    Raises:
        ValueError: If its name leads out of the cache.
        StoreError: If the store does not give it.
    """
    path = PurePosixPath(file.url.partition("://")[2])
    if ".." in path.parts:
        raise ValueError(f"{file} must be a name without `..`, since copies have the names of their files.")
    copy = cache_folder() / sha256(file.stamp.encode()).hexdigest()[:16] / str(path).lstrip("/")
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f"{copy.name}.{uuid4().hex}.part")
        _get(file, part)
        part.replace(copy)
    return copy


def local(name: str | Path | StoreFile) -> Path:
    """A small file on this machine: itself, or the copy of one in a store."""
    if isinstance(name, StoreFile):
        return fetched(name)
    return fetched(store_file(str(name))) if is_remote(name) else Path(name)


def is_file(name: str | Path) -> bool:
    """Whether there is such a file, here or in a store."""
    if not is_remote(name):
        return Path(name).is_file()
    store, path = opened(str(name))
    return bool(patiently(lambda: store.isfile(path), str(name)))


def described(store: Any, path: str, about: Mapping[str, Any]) -> StoreFile:
    """A file by what its store says of it.

    Args:
        store: The store.
        path: Its name in the store.
        about: What a listing has of it. Where that lacks the size the store is asked again.
    """
    if about.get("size") is None:
        about = patiently(lambda: store.info(path), path)
    mark = next((f"{key} {about[key]}" for key in _MARKS if about.get(key)), None)
    size = int(about["size"])
    return StoreFile(str(store.unstrip_protocol(path)), size, f"{size} {mark or store.ukey(path)}")


def _get(file: StoreFile, target: Path) -> None:
    store, path = opened(file.url)

    def get() -> None:
        store.get_file(path, str(target))
        if (size := target.stat().st_size) != file.size_bytes:
            raise OSError(f"It gave {size} bytes of {file.size_bytes}.")

    try:
        patiently(get, file.url)
    except FINAL as error:
        raise StoreError(f"{file} is not given: {told(error)}") from error
