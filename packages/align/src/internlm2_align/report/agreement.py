"""Agreement of people, from the queue that they labelled."""

import sqlite3
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from internlm2_align.people.figures import figures
from internlm2_align.people.queue import Queue
from internlm2_align.people.store import FILE


def agreement_of(folder: Path) -> dict[str, Any] | None:
    """Figures of a folder of labels (see `internlm2_align.people.figures`), or None where no people labelled.

    A copy is read: people may label meanwhile, and a report changes nothing.

    Args:
        folder: Holds ``labels.sqlite`` if people labelled.
    """
    if not (folder / FILE).is_file():
        return None
    with TemporaryDirectory() as scratch:
        source = sqlite3.connect(f"{(folder / FILE).resolve().as_uri()}?mode=ro", uri=True)
        copy = sqlite3.connect(Path(scratch) / FILE)
        try:
            source.backup(copy)
        finally:
            source.close()
            copy.close()
        return figures(Queue(Path(scratch)))
