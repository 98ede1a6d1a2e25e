"""A model folder is written beside its place and put there whole.

    runs/sft/model                         what readers open: the old model, then the new one
    runs/sft/.model.1f0c2a9e.draft         the new model while it is written, then the old one while it is removed

The two are exchanged in one step of the file system, so a process that is killed leaves a whole model at every instant.
A draft is locked while its process lives. The next process that writes to the same place removes those that are not.
"""

import ctypes
import errno
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from internlm2_records import cards

FILES = re.compile(
    r"\.tmp\w{6}|shard-\d+|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|config\.json|generation_config\.json"
    r"|tokenizer\.(json|model)|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.jinja"
    r"|conditions\.yaml|\.README\.md\.part"
)
"""Names of the files that are written into model folders, those of safetensors that are not yet whole among them."""

AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def new_folder(path: str | Path, source: str | Path | None = None) -> Iterator[Path]:
    """A folder that appears at ``path`` only when the block ends without an error. An older model is replaced.

    Args:
        path: Its place. A symbolic link stays, and what it leads to is replaced.
        source: A folder that the block reads, which must not be replaced.

    Raises:
        ValueError: If something else than a model is there, see `check_place`.
    """
    place = check_place(path, source)
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(place)
    draft = beside(place, "draft")
    draft.mkdir()
    descriptor = lock(draft)
    try:
        yield draft
        old = put(draft, place)
    except BaseException:
        remove(draft)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)
    if old is not None:
        for name in [entry.name for entry in old.iterdir() if not is_of_model(entry)]:
            (old / name).rename(place / name)  # somebody put it there after `check_place`
        remove(old)


def check_place(path: str | Path, source: str | Path | None = None) -> Path:
    """Where a model would be written, if nothing but a model is lost by that.

    Args:
        path: The place. It may be absent, an empty folder or a model folder.
        source: A folder that must stay.

    Returns:
        The place itself, symbolic links followed.

    Raises:
        ValueError: If it holds anything else, is the source or a folder above it, the current folder, or a mount point.
    """
    place = Path(path).resolve()
    read = Path(source).resolve() if source is not None else None
    if read == place:
        raise ValueError(f"{path} must be another folder than the one that is read.")
    if read is not None and read.is_relative_to(place):
        raise ValueError(f"{path} holds {source}, which is read. The model would replace it.")
    if Path.cwd().is_relative_to(place):
        raise ValueError(f"{path} is the current folder or above it. The model needs a folder of its own.")
    if os.path.ismount(place):
        raise ValueError(f"{path} is a mount point, which cannot be replaced. The model needs a folder below it.")
    if place.exists() and not place.is_dir():
        raise ValueError(f"{path} is a file. The model needs a folder of its own.")
    if place.exists() and (other := strangers(place)):
        named = ", ".join(other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        raise ValueError(
            f"{path} holds {named}. The model needs a folder that is absent, empty or nothing but an older model, "
            "since it is replaced as a whole."
        )
    return place


def strangers(place: Path) -> list[str]:
    """What a folder holds beside the files of a model. It is all of them where they make no model."""
    entries = sorted(place.iterdir())
    is_model = any(entry.name == "config.json" for entry in entries)
    return [entry.name + "/" * entry.is_dir() for entry in entries if not (is_model and is_of_model(entry))]


def is_of_model(entry: Path) -> bool:
    """Whether a file is one that is written into model folders. A card that somebody else has written is not."""
    if entry.name == cards.FILE:
        return cards.is_ours(entry)
    return FILES.fullmatch(entry.name + "/" * entry.is_dir()) is not None


def put(draft: Path, place: Path) -> Path | None:
    """Move a finished draft to its place.

    Args:
        draft: The whole new model.
        place: Absent, an empty folder, or the older model.

    Returns:
        Where the older model is now.
    """
    try:
        draft.rename(place)
        return None
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    for file in draft.iterdir():  # if the machine goes down, one of the two must be on the disk
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    if exchange(draft, place):
        return draft
    # No exchange here, as on some network file systems. For an instant nothing is there, see `remove_leftovers`.
    old = beside(place, "old")
    place.rename(old)
    try:
        draft.rename(place)
    except BaseException:
        if not place.exists():
            old.rename(place)
        raise
    return old


def exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step.

    Args:
        first: A folder.
        second: One of the same file system.

    Returns:
        False where the system or the file system cannot do it.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    if rename(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    if (code := ctypes.get_errno()) in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(first))


def remove(folder: Path) -> None:
    """Remove a model, whole or not. Files that are not of a model stay, and so does the folder then."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if is_of_model(entry):
            entry.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def beside(place: Path, kind: str) -> Path:
    """A new hidden name in the same folder.

    Args:
        place: A model folder.
        kind: End of the name.
    """
    return place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.{kind}")


def remove_leftovers(place: Path) -> None:
    """Remove what killed processes left beside a place. A model that one had moved aside returns to it."""
    hidden = re.compile(rf"\.{re.escape(place.name)}\.[0-9a-f]{{8}}\.(draft|old)")
    for left in sorted(entry for entry in place.parent.iterdir() if hidden.fullmatch(entry.name)):
        descriptor = lock(left)
        if descriptor is None:
            continue
        if left.suffix == ".old" and not place.exists():
            left.rename(place)
        else:
            remove(left)
        os.close(descriptor)


def lock(folder: Path) -> int | None:
    """Lock a folder as long as this process lives.

    Returns:
        A descriptor to close. None if another process holds the lock, or the file system has none.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
