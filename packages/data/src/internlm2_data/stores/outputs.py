"""Outputs in a store: what is finished goes there at once, and a pointer takes its place here.

A run works in a folder of this machine, as any other does. Of a shard that it has sent away it keeps a pointer, a file
of the same name that says where the content is (as Git LFS does). `ShardReader` follows pointers. So the folder
remembers what was done, and needs room for the shards in work alone. Cards come last, by which others find the rest.
"""

import json
from dataclasses import asdict
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from internlm2_data.stores.asking import opened, opened_anew, patiently
from internlm2_data.stores.files import InputFile, StoreFile, cache_folder, store_file

_BEGIN = b"internlm2 pointer into a store\n"


def work_folder(name: str) -> Path:
    """The folder on this machine in which an output for a store is worked on. It is the same each time."""
    return cache_folder() / "outputs" / sha256(name.encode()).hexdigest()[:16]


def send(file: Path, url: str) -> None:
    """Move a finished file into a store, and leave a pointer.

    Args:
        file: The file.
        url: Its name in the store.

    Raises:
        StoreError: If the store does not take it.
    """
    _put(file, url)
    part = file.with_name(file.name + ".part")
    part.write_bytes(_BEGIN + json.dumps(asdict(store_file(url))).encode())
    part.replace(file)


def followed(file: InputFile) -> InputFile:
    """The file of a store that a pointer leads to. Any other file is returned as it is."""
    if isinstance(file, StoreFile):
        return file
    with file.open("rb") as content:
        if content.read(len(_BEGIN)) != _BEGIN:
            return file
        return StoreFile(**json.loads(content.read()))


def withdraw(name: str) -> None:
    """Remove the cards of an earlier output, before what they tell of is replaced: reports, and those of token files.

    Args:
        name: Its folder in the store.
    """
    store, path = opened_anew(name)
    there = _files(store, path)
    reports = {f"{path}/{report}" for report in ("funnel.json", "tokens.json")}
    cards = {file for file in there if f"{file.removesuffix('.json')}.offsets.npy" in there}
    for file in sorted((reports & there) | cards):
        patiently(partial(store.rm_file, file), name)


def publish(folder: Path, name: str) -> None:
    """Complete an output in a store. What an earlier output left in the same folders is removed, as in local outputs.

    Args:
        folder: The output, in which pointers take the place of files that were sent. `_shards` stays here.
        name: The folder in the store.

    Raises:
        FileNotFoundError: If the store has lost what was sent.
        StoreError: If it does not take the rest.
    """
    store, path = opened_anew(name)
    files = {file.relative_to(folder): file for file in sorted(folder.rglob("*")) if file.is_file()}
    wanted = {f"{path}/{place.as_posix()}": file for place, file in files.items() if place.parts[0] != "_shards"}
    there = _files(store, path)
    sent = {target for target, file in wanted.items() if isinstance(followed(file), StoreFile)}
    if lost := sorted(sent - there):
        raise FileNotFoundError(
            f"{name} has lost {len(lost)} files that were sent there, such as {lost[0]}. Delete {folder} and run the "
            "same command again."
        )
    written = tuple({f"{path}/{place.parts[0]}/" for place in files if len(place.parts) > 1})
    record = folder / "_shards" / "published.json"
    before = set(json.loads(record.read_text("utf-8"))) if record.is_file() else set()
    for old in sorted(file for file in there - set(wanted) if file.startswith(written) or file in before):
        patiently(partial(store.rm_file, old), name)
    record.parent.mkdir(exist_ok=True)
    record.write_text(json.dumps(sorted(before | set(wanted))), "utf-8")
    # Cards last, by which token files are found.
    for target in sorted(set(wanted) - sent, key=lambda target: (target.endswith(".json"), target)):
        _put(wanted[target], str(store.unstrip_protocol(target)))


def _files(store: Any, path: str) -> set[str]:
    try:
        return set(patiently(lambda: store.find(path), path))
    except FileNotFoundError:
        return set()


def _put(file: Path, url: str) -> None:
    store, path = opened(url)

    def put() -> None:
        store.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
        store.put_file(str(file), path)

    patiently(put, url)
