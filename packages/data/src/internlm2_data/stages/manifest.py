"""Small JSON files, written whole or not at all."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TypeVar


def write_json(path: Path, record: Any) -> None:
    """Write a JSON file beside its target, then move it there.

    Args:
        path: File to write.
        record: Its content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, ensure_ascii=False, indent=1), "utf-8")
    part.replace(path)


class Task(Protocol):
    """Work that writes a manifest last."""

    @property
    def manifest(self) -> Path:
        """Where it is written that this was done."""

    @property
    def made_by(self) -> str:
        """Fingerprint of inputs and settings."""


SomeTask = TypeVar("SomeTask", bound=Task)


def undone(tasks: Iterable[SomeTask]) -> list[SomeTask]:
    """The tasks that are still to be done.

    What their manifests say of other work is forgotten: killed in the middle, a task would leave new files under it.
    """
    left = [task for task in tasks if not is_done(task.manifest, task.made_by)]
    for task in left:
        task.manifest.unlink(missing_ok=True)
    return left


def is_done(manifest: Path, made_by: str) -> bool:
    """Whether a manifest says that exactly this work was finished.

    Args:
        manifest: File that work leaves when it is done.
        made_by: Fingerprint of the work.
    """
    try:
        return bool(json.loads(manifest.read_text("utf-8"))["made_by"] == made_by)
    except (OSError, ValueError, KeyError):
        return False
