"""A store in a folder, which notes what is read and written and fails when it is told to."""

import json
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import fsspec
from fsspec.implementations.dirfs import DirFileSystem
from fsspec.implementations.local import LocalFileSystem


class CountedStore(DirFileSystem):
    """``counted://NAME`` is the file ``NAME`` in `root`. Notes outlive forks."""

    protocol = "counted"
    cachable = False
    root: ClassVar[Path]
    notes: ClassVar[Path]
    watched: ClassVar[Path]
    failures: ClassVar[dict[str, int]]

    def __init__(self, **_):
        super().__init__(path=str(self.root), fs=LocalFileSystem())

    def invalidate_cache(self, path=None):
        """Nothing is remembered."""

    def cat_file(self, path, start=None, end=None, **_):
        self._fail(path)
        data = super().cat_file(path, start=start, end=end)
        self._note("read", path, len(data))
        return data

    def get_file(self, rpath, lpath, **_):
        self._fail(rpath)
        super().get_file(rpath, lpath)
        self._note("got", rpath, Path(lpath).stat().st_size)

    def put_file(self, lpath, rpath, **_):
        self._fail(rpath)
        self._note("put", rpath, Path(lpath).stat().st_size)
        super().put_file(lpath, rpath)

    def _fail(self, path):
        name = Path(path).name
        if self.failures.get(name, 0) > 0:
            self.failures[name] -= 1
            raise RuntimeError("The line is dead.")

    def _note(self, what, path, size):
        """Also what lies in the watched folder at this moment."""
        held = sum(map(_size, self.watched.rglob("*")))
        with self.notes.open("a") as notes:
            notes.write(json.dumps({"what": what, "file": path, "bytes": size, "held": held}) + "\n")


def _size(file):
    """Bytes of a file, which may be removed at this moment."""
    with suppress(FileNotFoundError):
        return file.stat().st_size if file.is_file() else 0
    return 0


def noted(what, ending=""):
    """The notes of one kind, of files with an ending."""
    lines = CountedStore.notes.read_text().splitlines() if CountedStore.notes.exists() else []
    return [note for note in map(json.loads, lines) if note["what"] == what and note["file"].endswith(ending)]


def open_store(folder: Path, watched: Path) -> Path:
    """Make ``counted://`` the store of a folder, without notes and failures.

    Args:
        folder: Where its files and notes are.
        watched: The folder whose size is noted.

    Returns:
        The folder of its files.
    """
    CountedStore.root, CountedStore.notes, CountedStore.watched = folder / "files", folder / "notes", watched
    CountedStore.failures = {}
    CountedStore.root.mkdir(parents=True)
    watched.mkdir(exist_ok=True)
    fsspec.register_implementation("counted", CountedStore, clobber=True)
    return CountedStore.root
