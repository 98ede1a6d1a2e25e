"""Which files there are in stores."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from internlm2_data.stores.asking import opened, opened_anew, patiently
from internlm2_data.stores.files import StoreFile, described, store_file


def matches_of(name: str) -> list[StoreFile | str]:
    """What a name in a store means: files, and names of folders. Sorted.

    Args:
        name: A name or a pattern, such as ``s3://bucket/crawl`` or ``s3://bucket/*.warc.gz``.

    Raises:
        FileNotFoundError: If there is nothing.
        StoreError: If the store does not answer.
    """
    store, path = opened_anew(name)
    if any(sign in path for sign in "*?["):
        found = patiently(lambda: store.glob(path, detail=True), name)
    else:
        found = {path: patiently(lambda: store.info(path), name)}
    if not found:
        raise FileNotFoundError(name)
    return [
        described(store, each, about) if about["type"] == "file" else str(store.unstrip_protocol(each))
        for each, about in sorted(found.items())
    ]


def files_below(folder: str) -> list[StoreFile]:
    """All files in a folder of a store and in its folders, in the order of local ones.

    Files and folders whose names begin with a dot or an underscore are left out, as in local folders.

    Args:
        folder: Such as ``s3://bucket/crawl``.

    Raises:
        StoreError: If the store does not answer.
    """
    store, path = opened_anew(folder)
    found = patiently(lambda: store.find(path, detail=True), folder)
    parts = {file: PurePosixPath(file).relative_to(path).parts for file in found}
    return [
        described(store, file, found[file])
        for file in sorted(found, key=parts.__getitem__)
        if not any(part.startswith((".", "_")) for part in parts[file])
    ]


def names_in(folder: str) -> list[str]:
    """Names of the files that lie in a folder of a store. There are none where it cannot be listed.

    Args:
        folder: Such as ``s3://bucket/tokens/train``.
    """
    opened_anew(folder)
    return [PurePosixPath(about["name"]).name for about in _entries(folder)]


def files_in(folder: str, names: Sequence[str]) -> list[StoreFile]:
    """Files of a folder of a store, with one request for all where it can be listed.

    Args:
        folder: Such as ``s3://bucket/tokens/train``.
        names: Their names in it.

    Raises:
        FileNotFoundError: If one is not there.
        StoreError: If the store does not answer.
    """
    store, _ = opened(folder)
    there = {PurePosixPath(about["name"]).name: about for about in _entries(folder)}
    return [
        described(store, there[name]["name"], there[name]) if name in there else store_file(f"{folder}/{name}")
        for name in names
    ]


def _entries(folder: str) -> list[Mapping[str, Any]]:
    store, path = opened(folder)
    try:
        found = patiently(lambda: store.ls(path, detail=True), folder)
    except (FileNotFoundError, NotADirectoryError, NotImplementedError):
        return []
    return [about for about in found if about["type"] == "file"]
