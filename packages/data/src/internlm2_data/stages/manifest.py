"""Small JSON files, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def write_json(path: Path, record: Any) -> None:
    """Write a JSON file beside its target, then move it there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(record, ensure_ascii=False, indent=1), "utf-8")
    part.replace(path)


def is_done(manifest: Path, made_by: str) -> bool:
    """Whether a manifest says that exactly this work was finished."""
    try:
        return bool(json.loads(manifest.read_text("utf-8"))["made_by"] == made_by)
    except (OSError, ValueError, KeyError):
        return False
