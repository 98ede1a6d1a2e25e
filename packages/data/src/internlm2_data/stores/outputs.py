"""Outputs in a store: worked on here, and copied when they are done."""

from hashlib import sha256
from pathlib import Path, PurePosixPath

from internlm2_data.stores.asking import opened
from internlm2_data.stores.files import cache_folder


def work_folder(name: str) -> Path:
    """The folder on this machine in which an output for a store is worked on. It is the same each time."""
    return cache_folder() / "outputs" / sha256(name.encode()).hexdigest()[:16]


def publish(folder: Path, name: str) -> None:
    """Copy a finished output into a store. What was there under other names is removed, shards' own files stay here.

    Args:
        folder: The output.
        name: The folder in the store.
    """
    store, path = opened(name)
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and "_shards" not in file.parts]
    # Cards last, by which token files are found.
    files.sort(key=lambda file: file.suffix == ".json")
    wanted = {f"{path.rstrip('/')}/{file.relative_to(folder).as_posix()}": file for file in files}
    for old in set(store.find(path)) - set(wanted) if store.exists(path) else ():
        store.rm_file(old)
    for target, file in wanted.items():
        store.makedirs(str(PurePosixPath(target).parent), exist_ok=True)
        store.put_file(str(file), target)
