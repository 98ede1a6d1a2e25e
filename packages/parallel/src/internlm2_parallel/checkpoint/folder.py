"""A checkpoint folder on disk: draft, manifest, publication, and what is damaged."""

import ctypes
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist

MANIFEST = "manifest.json"


def draft_of(target: Path) -> Path:
    """Where a checkpoint is written before it gets its name: beside the target, so that renaming is atomic."""
    return target.with_name(f".{target.name}.draft")


def set_aside(target: Path) -> Path:
    """Where an older checkpoint of the same name waits while it is replaced."""
    return target.with_name(f".{target.name}.old")


def digest(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_durably(file: Path, content: str) -> None:
    """Write text and wait until it is on the disk.

    Args:
        file: Is overwritten.
        content: The text.
    """
    with file.open("w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def publish(draft: Path, target: Path, digests: dict[str, str]) -> None:
    """Complete a draft with its manifest and give it its name.

    Args:
        draft: Folder with every file in place.
        target: The final folder. One that exists is replaced, and is back in place if this process dies in between
            (see `recover`).
        digests: SHA-256 of files that were hashed by their writers. The rest is hashed here.
    """
    files = sorted(file for file in draft.iterdir() if file.name != MANIFEST and file.suffix != ".sha256")
    entries = {
        file.name: {"bytes": file.stat().st_size, "sha256": digests.get(file.name) or digest(file)} for file in files
    }
    write_durably(draft / MANIFEST, json.dumps({"version": 1, "files": entries}, indent=1) + "\n")
    for sidecar in draft.glob("*.sha256"):
        sidecar.unlink()
    put_in_place(draft, target)


def publish_linked(first: Path, target: Path, then: Callable[[Path], None]) -> None:
    """Complete a draft with the tensors of another checkpoint of the same state, which are not written again.

    They are hard links, so that each of the two can be removed. Where the file system has none, they are copied.

    Args:
        first: A whole checkpoint.
        target: The final folder, whose draft holds everything else.
        then: Called with ``target``.
    """
    draft = draft_of(target)
    files = json.loads((first / MANIFEST).read_text("utf-8"))["files"]
    shared = {name: entry["sha256"] for name, entry in files.items() if Path(name).suffix != ".pt"}
    for name in shared:
        try:
            os.link(first / name, draft / name)
        except OSError:
            shutil.copyfile(first / name, draft / name)
    publish(draft, target, shared)
    then(target)


def put_in_place(draft: Path, target: Path) -> None:
    """Give a whole draft its name, whatever has it.

    Args:
        draft: A folder.
        target: The final name. A folder that has it is back in place if this process dies in between.
    """
    if target.is_file():
        target.unlink()
    if target.exists():
        _replace_folder(draft, target)
    else:
        draft.rename(target)
    flush_folder(target.parent)


def _replace_folder(draft: Path, target: Path) -> None:
    """Put a draft in the place of a folder: in one step where the system can, else in two renames."""
    if exchange(draft, target):
        shutil.rmtree(draft)
        return
    old = set_aside(target)
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    draft.rename(target)
    shutil.rmtree(old)


def exchange(a: Path, b: Path) -> bool:
    """Swap two names atomically (Linux ``renameat2``).

    Args:
        a: A path that exists.
        b: Another.

    Returns:
        False where the system or file system cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "renameat2"):
        return False
    at_cwd, swap = -100, 2
    return libc.renameat2(at_cwd, os.fsencode(a), at_cwd, os.fsencode(b), swap) == 0


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def recover(target: Path) -> None:
    """Undo a replacement that was cut off between its two renames."""
    old = set_aside(target)
    if old.exists() and not target.exists():
        old.rename(target)


def completed(folder: str | Path) -> bool:
    """Whether ``folder`` is a whole sharded checkpoint: its manifest is there, and every file in its length."""
    manifest = Path(folder) / MANIFEST
    if not manifest.is_file():
        return False
    files = json.loads(manifest.read_text("utf-8"))["files"]
    paths = {Path(folder) / name: entry["bytes"] for name, entry in files.items()}
    return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())


def damage(folder: str | Path, part: int = 0, parts: int = 1) -> list[str]:
    """Names of files that are missing or whose checksum differs. Every file is read.

    Args:
        folder: A sharded checkpoint.
        part: Which share of the files is read.
        parts: How many shares there are.

    Raises:
        FileNotFoundError: If the manifest is missing.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(f"{folder} is not a whole checkpoint: it has no {MANIFEST}.")
    files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    mine = list(files)[part::parts]
    return [n for n in mine if not (folder / n).is_file() or digest(folder / n) != files[n]["sha256"]]


def refuse_damaged(path: Path) -> None:
    """Compare a checkpoint with its checksums, each rank its share. Collective for a folder.

    Args:
        path: A sharded checkpoint that is `completed`, or one file.

    Raises:
        ValueError: If something differs, on every rank alike.
    """
    if path.is_file():
        with zipfile.ZipFile(path) as archive:
            wrong = [name] if (name := archive.testzip()) else []
    else:
        found: list[list[str]] = [[] for _ in range(dist.get_world_size())]
        dist.all_gather_object(found, damage(path, dist.get_rank(), dist.get_world_size()))
        wrong = [name for names in found for name in names]
    if wrong:
        raise ValueError(
            f"ckpt_path={path} is damaged: {', '.join(sorted(wrong))} differ from their checksums. An older checkpoint "
            "may be whole."
        )
