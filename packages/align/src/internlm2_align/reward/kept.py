"""A folder that is worked out once: by the first process that wants it, for all that want the same."""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CARD = "card.json"
"""Written last. It says of what the folder was made."""


def kept(
    folder: Path, fingerprint: str, make: Callable[[Path], Mapping[str, Any]], said: Callable[[str], None]
) -> dict[str, Any]:
    """What the card of a folder says, after it was made where it was not there, or was made of something else.

    Other processes that want it wait until it is there. A process that is killed leaves no folder, or the one before.

    Args:
        folder: The place.
        fingerprint: Of all that it is made of.
        make: Fills a folder, and says what its card shall hold.
        said: Gets a sentence where an older folder is replaced.

    Raises:
        ValueError: If something else is there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{folder.name}.lock"):
        card = read_card(folder)
        if card and card["fingerprint"] == fingerprint:
            return card
        if card:
            said(f"{folder} was made of other pairs or settings, and is made again.")
        draft = folder.parent / f".{folder.name}.draft"
        shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed, since it would hold the lock
        draft.mkdir()
        try:
            card = {"fingerprint": fingerprint, **make(draft)}
            (draft / CARD).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)  # who has mapped its files keeps them
            draft.rename(folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        return card


def read_card(folder: Path) -> dict[str, Any] | None:
    """The card of a folder, or None where there is nothing.

    Raises:
        ValueError: If something else is there.
    """
    if not folder.exists():
        return None
    if not (folder / CARD).is_file():
        raise ValueError(f"folder={folder} holds something else than encoded pairs. Take another folder for them.")
    return dict(json.loads((folder / CARD).read_text(encoding="utf-8")))


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Only one process at a time is inside. The lock of one that dies is free.

    Args:
        file: Stands for the lock.
    """
    with file.open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def digest(path: str | Path) -> str:
    """SHA-256 of a file, or of all files below a folder. Empty where there is nothing, which reading it will say."""
    path = Path(path)
    if not path.exists():
        return ""
    if path.is_dir():
        inside = sorted(file for file in path.rglob("*") if file.is_file())
        return hashlib.sha256(
            repr([(str(file.relative_to(path)), digest(file)) for file in inside]).encode()
        ).hexdigest()
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
