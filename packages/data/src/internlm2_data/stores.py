"""Files of remote stores (``s3://``, ``gs://``, ``hf://``, ...), through fsspec.

What is read is copied once into a cache on this machine, under a name that changes with its content. What is written is
worked on here and copied when it is done. So the work itself, its resumption and memory maps are those of local files.
Each store needs its own package of fsspec, such as s3fs.
"""

import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any


def is_remote(name: str | Path) -> bool:
    """Whether a name is that of a file or folder in a store, such as ``s3://bucket/crawl``."""
    return "://" in str(name)


def cache_folder() -> Path:
    """Where copies are: ``internlm2/stores`` in the user's cache (``XDG_CACHE_HOME``)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "internlm2" / "stores"


def files_of(name: str) -> Iterator[str]:
    """The files that a name in a store means: itself, all in a folder, or those that fit a pattern. Sorted.

    Files and folders in a folder whose names begin with a dot or an underscore are left out, as in local folders.

    Args:
        name: Such as ``s3://bucket/crawl`` or ``s3://bucket/*.warc.gz``.

    Raises:
        FileNotFoundError: If there are none.
    """
    store, path = _opened(name)
    found = sorted(store.glob(path)) if any(sign in path for sign in "*?[") else [path]
    count = 0
    for top in found:
        files = sorted(store.find(top)) if store.isdir(top) else [top] if store.exists(top) else []
        for file in files:
            if file == top or not any(part.startswith((".", "_")) for part in _below(file, top)):
                count += 1
                yield str(store.unstrip_protocol(file))
    if not count:
        raise FileNotFoundError(f"{name} does not exist.")


def fetched(name: str) -> Path:
    """The copy of a file of a store on this machine. It is made where no copy has the same content.

    Args:
        name: Of the file, such as ``s3://bucket/a.jsonl``.

    Raises:
        FileNotFoundError: If it is not there.
        ValueError: If its name leads out of the cache.
    """
    store, path = _opened(name)
    if not store.isfile(path):
        raise FileNotFoundError(f"{name} does not exist.")
    if ".." in PurePosixPath(path).parts:
        raise ValueError(f"{name} must be a name without `..`, since copies have the names of their files.")
    # Names of crawls are in the folders, and formats in the endings.
    copy = cache_folder() / str(store.ukey(path))[:16] / path.lstrip("/")
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        part = copy.with_name(f"{copy.name}.{os.getpid()}.part")
        store.get_file(path, str(part))
        part.replace(copy)
    return copy


def size_of(name: str | Path) -> int:
    """Bytes of a file of a store or of this machine, without a copy."""
    if not is_remote(name):
        return Path(name).stat().st_size
    store, path = _opened(str(name))
    return int(store.size(path))


def local(name: str | Path) -> Path:
    """A file on this machine: itself, or the copy of one in a store."""
    return fetched(str(name)) if is_remote(name) else Path(name)


def is_file(name: str | Path) -> bool:
    """Whether there is such a file, here or in a store."""
    if not is_remote(name):
        return Path(name).is_file()
    store, path = _opened(str(name))
    return bool(store.isfile(path))


def work_folder(name: str) -> Path:
    """The folder on this machine in which an output for a store is worked on. It is the same each time."""
    return cache_folder() / "outputs" / sha256(name.encode()).hexdigest()[:16]


def publish(folder: Path, name: str) -> None:
    """Copy a finished output into a store. What was there under other names is removed, shards' own files stay here.

    Args:
        folder: The output.
        name: The folder in the store.
    """
    store, path = _opened(name)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "_shards" not in file.parts]
    # Cards last, by which token files are found.
    files.sort(key=lambda file: file.suffix == ".json")
    wanted = {f"{path.rstrip('/')}/{file.relative_to(folder).as_posix()}": file for file in files}
    for old in set(store.find(path)) - set(wanted) if store.exists(path) else ():
        store.rm_file(old)
    for target, file in wanted.items():
        store.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        store.put_file(str(file), target)


def _opened(name: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    store, path = url_to_fs(name)
    return store, str(path)


def _below(file: str, top: str) -> tuple[str, ...]:
    return PurePosixPath(file).relative_to(top).parts
