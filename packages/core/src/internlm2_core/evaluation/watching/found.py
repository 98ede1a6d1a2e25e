"""The checkpoints of a run that may still be training."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from internlm2_core.training.found import newest_first, step_of


def checkpoints_of(run: Path) -> dict[int, Path]:
    """Whole checkpoints by step, oldest first. Those that are being written are not whole.

    Args:
        run: Folder of the run. Its checkpoints are in ``checkpoints`` and, where the best ones are kept, in ``best``.
    """
    found: dict[int, Path] = {}
    for folder in (run / "best", run / "checkpoints"):
        try:
            paths = list(newest_first(folder))
        except FileNotFoundError:
            continue  # one of them was removed while they were listed. The next look finds the others.
        for path in paths:
            if (step := step_of(path)) is not None:
                found[step] = path
    return dict(sorted(found.items()))


def is_finished(run: Path) -> bool:
    """Whether training has ended: ``training.json`` is written last, and names the newest step.

    Args:
        run: Folder of the run.
    """
    try:
        steps = json.loads((run / "training.json").read_text(encoding="utf-8"))["steps"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError):
        return False  # it is being written
    return bool(max(checkpoints_of(run), default=0) <= steps)


@contextmanager
def held(path: Path, scratch: Path) -> Iterator[Path | None]:
    """A checkpoint under a second name, so that training may remove its own meanwhile.

    Hard links take no space. Where the file system has none, the files are copied.

    Args:
        path: The checkpoint, a file or a sharded folder.
        scratch: The second name. What a killed process left there is removed.

    Yields:
        Where it is now, or None if it was removed before it could be held.
    """
    remove(scratch)
    scratch.parent.mkdir(parents=True, exist_ok=True)
    try:
        if path.is_dir():
            shutil.copytree(path, scratch, copy_function=linked)
        else:
            linked(path, scratch)
        yield scratch if step_of(scratch) is not None else None
    except (FileNotFoundError, shutil.Error):
        if path.exists():
            raise
        yield None
    finally:
        remove(scratch)


def linked(source: str | Path, target: str | Path) -> None:
    """A second name for a file, or a copy where there are no such names.

    Args:
        source: The file.
        target: Its second name.
    """
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        shutil.copyfile(source, target)


def remove(path: Path) -> None:
    """A file or folder less, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
