"""A checkpoint folder on disk: draft, manifest, publication, and finding the newest whole one."""

import ctypes
import hashlib
import json
import os
import shutil
from pathlib import Path

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
    """Write text and wait until it is on the disk."""
    with file.open("w", encoding="utf-8") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def publish(draft: Path, target: Path, digests: dict[str, str]) -> None:
    """Complete a draft with its manifest and give it its name.

    Args:
        draft: folder with every file in place.
        target: the final folder; one that exists is replaced, and is back in place if this process dies in between
            (see :func:`recover`).
        digests: SHA-256 of files that were hashed by their writers; the rest is hashed here.
    """
    files = sorted(file for file in draft.iterdir() if file.name != MANIFEST and file.suffix != ".sha256")
    entries = {
        file.name: {"bytes": file.stat().st_size, "sha256": digests.get(file.name) or digest(file)} for file in files
    }
    write_durably(draft / MANIFEST, json.dumps({"version": 1, "files": entries}, indent=1) + "\n")
    for sidecar in draft.glob("*.sha256"):
        sidecar.unlink()
    if target.is_file():
        target.unlink()
    if target.exists():
        replace_folder(draft, target)
    else:
        draft.rename(target)
    flush_folder(target.parent)


def replace_folder(draft: Path, target: Path) -> None:
    """Put ``draft`` in the place of the folder ``target``: in one step where the system can, else in two renames."""
    if exchange(draft, target):
        shutil.rmtree(draft)
        return
    old = set_aside(target)
    shutil.rmtree(old, ignore_errors=True)
    target.rename(old)
    draft.rename(target)
    shutil.rmtree(old)


def exchange(a: Path, b: Path) -> bool:
    """Swap two names atomically (Linux ``renameat2``); False where the system or file system cannot."""
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


def damage(folder: str | Path) -> list[str]:
    """Names of files that are missing or whose checksum differs; reads everything.

    Raises:
        FileNotFoundError: no manifest.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).is_file():
        raise FileNotFoundError(
            f"{folder} has no {MANIFEST}: it is no whole checkpoint; give an earlier one as ckpt_path."
        )
    files = json.loads((folder / MANIFEST).read_text("utf-8"))["files"]
    return [n for n, entry in files.items() if not (folder / n).is_file() or digest(folder / n) != entry["sha256"]]


def latest(folder: str | Path) -> Path | None:
    """The newest whole checkpoint below ``folder``; None before the first. Drafts and torn replacements are mended.

    Single-file checkpoints of plain Lightning count too.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return None
    for old in folder.glob(".*.old"):
        recover(old.with_name(old.name.removeprefix(".").removesuffix(".old")))
    found = [path for path in folder.glob("*.ckpt") if path.is_file() or completed(path)]
    return max(found, key=modified, default=None)


def modified(path: Path) -> int:
    """When a checkpoint was completed, in nanoseconds."""
    return (path / MANIFEST if path.is_dir() else path).stat().st_mtime_ns
