"""The files of a repository, and how to find some of them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import PurePosixPath

_MODULE_ENDINGS = ("/__init__.py", ".py", "/__init__.pyi", ".pyi", ".pyx", ".pxd")
_NAMESPACE = re.compile(r"^\s*namespace\s+([\w.]+)", re.MULTILINE)


class Tree:
    """A repository.

    Args:
        texts: Text of each file by its path inside, with slashes.
        name: Of the repository, by which a package that fills it is imported.
    """

    def __init__(self, texts: Mapping[str, str], name: str = "") -> None:
        self.texts, self.name = texts, name

    def __contains__(self, path: str) -> bool:
        """Whether there is such a file."""
        return path in self.texts

    def text(self, path: str) -> str:
        """A file's text."""
        return self.texts[path]

    def first(self, paths: Iterable[str]) -> Iterator[str]:
        """The first path that is a file of the repository, if any.

        Args:
            paths: May contain ``.`` and ``..``. One that leads out of the repository is skipped.
        """
        found = (normal for path in paths if (normal := normalised(path)) in self.texts)
        if (path := next(found, None)) is not None:
            yield path

    def in_folder(self, folder: str, ending: str) -> list[str]:
        """The files of a folder itself.

        Args:
            folder: Its path, empty for the repository.
            ending: How their names end.
        """
        return [path for path in self._folders.get(folder, ()) if path.endswith(ending)]

    def ending(self, tail: str, near: str) -> Iterator[str]:
        """The file whose path ends with these parts, if there is one.

        Args:
            tail: Whole parts of a path, such as ``org/x/B.java``.
            near: Of several, the one that shares most folders with this path.
        """
        parts = tail.split("/")
        found = [path for path in self._names.get(parts[-1], ()) if path.split("/")[-len(parts) :] == parts]
        if found:
            yield min(found, key=lambda path: (-_shared(path, near), path.count("/"), path))

    def above(self, path: str, name: str) -> str | None:
        """The nearest folder above a file that holds a file of this name, empty for the repository, None for none.

        Args:
            path: Of the file.
            name: What the folder holds.
        """
        folders = [str(parent) for parent in PurePosixPath(path).parents]
        return next((f for f in ("" if f == "." else f for f in folders) if joined(f, name) in self.texts), None)

    @cached_property
    def modules(self) -> dict[str, str]:
        """The file of each Python module by its path without ending. A package is its ``__init__``."""
        return {
            path.removesuffix(ending): path
            for ending in reversed(_MODULE_ENDINGS)
            for path in self.texts
            if path.endswith(ending)
        }

    @cached_property
    def package_roots(self) -> dict[str, list[str]]:
        """Folders that hold a Python package and are none, by the name of the package, those near the top first."""
        packages = {folder_of(path) for path in self.texts if path.endswith("__init__.py")}
        roots: dict[str, list[str]] = {}
        for package in sorted(packages, key=lambda package: (package.count("/"), package)):
            if package and folder_of(package) not in packages:
                roots.setdefault(package.rsplit("/", 1)[-1], []).append(folder_of(package))
        return roots

    @cached_property
    def namespaces(self) -> dict[str, list[str]]:
        """The files that declare each namespace of C#."""
        found: dict[str, list[str]] = {}
        for path, text in self.texts.items():
            for name in _NAMESPACE.findall(text) if path.endswith(".cs") else ():
                found.setdefault(name, []).append(path)
        return found

    @cached_property
    def _names(self) -> dict[str, list[str]]:
        names: dict[str, list[str]] = {}
        for path in sorted(self.texts):
            names.setdefault(path.rsplit("/", 1)[-1], []).append(path)
        return names

    @cached_property
    def _folders(self) -> dict[str, list[str]]:
        folders: dict[str, list[str]] = {}
        for path in sorted(self.texts):
            folders.setdefault(folder_of(path), []).append(path)
        return folders


def folder_of(path: str) -> str:
    """The folder of a path, empty for the repository itself."""
    return path.rpartition("/")[0]


def joined(*parts: str) -> str:
    """A path of parts, of which empty ones mean the repository itself."""
    return "/".join(part for part in parts if part)


def normalised(path: str) -> str:
    """A path without ``.`` and ``..``, empty if it leads out of the repository."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            if not parts:
                return ""
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _shared(one: str, other: str) -> int:
    """Folders that two paths have in common at their beginning."""
    count = 0
    for a, b in zip(one.split("/")[:-1], other.split("/")[:-1], strict=False):
        if a != b:
            break
        count += 1
    return count
