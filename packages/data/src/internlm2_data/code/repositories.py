"""Repositories of any form: folders, archives, and bare repositories of git."""

import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from internlm2_records.streams import PACKED, open_binary

from internlm2_data.code.languages import DOCUMENTATION, language_of
from internlm2_data.io.items import Fault, Passed

MAX_FILE_BYTES = 1 << 20
ARCHIVES = (".zip", ".tar", ".tgz", *(f".tar{packed}" for packed in PACKED))
_MARKS = (".git", "pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod", "pom.xml", "CMakeLists.txt")
_HISTORY = frozenset({".git", ".hg", ".svn"})


class Entry(NamedTuple):
    """A file of a repository.

    Attributes:
        path: Inside the repository, with slashes.
        size: Bytes.
        read: Gives its content.
    """

    path: str
    size: int
    read: Callable[[], bytes]


def find_repositories(inputs: Sequence[str | Path]) -> list[Path]:
    """The repositories that inputs mean.

    A folder with a mark of one (.git, pyproject.toml, ...) or with source files of its own is a repository. So are
    archives and bare repositories. A folder with documentation alone is one unless a folder in it has a mark. Any other
    folder holds repositories, at any depth (``owner/name/``).

    Raises:
        FileNotFoundError: If an input is neither a folder nor an archive.
        ValueError: If there are none.
    """
    found: list[Path] = []
    for name in inputs:
        path = Path(name)
        if not path.is_dir() and not _is_archive(path):
            raise FileNotFoundError(f"{path} is not a folder of repositories or an archive ({', '.join(ARCHIVES)}).")
        found += _below(path)
    if not found:
        raise ValueError(f"inputs={list(map(str, inputs))} hold no repository.")
    return found


def _below(path: Path) -> Iterator[Path]:
    if path.is_file() or is_bare(path) or _is_repository(path):
        yield path
        return
    for child in sorted(path.iterdir()):
        if _is_archive(child) or (child.is_dir() and not child.is_symlink() and child.name not in _HISTORY):
            yield from _below(child)


def _is_repository(folder: Path) -> bool:
    if _has_mark(folder):
        return True
    children = list(folder.iterdir())
    languages = {language_of(child.name) for child in children if child.is_file()} - {None}
    return bool(languages - DOCUMENTATION) or (bool(languages) and not any(map(_has_mark, children)))


def _has_mark(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in _MARKS)


def is_bare(folder: Path) -> bool:
    """Whether a folder is a bare repository of git.

    Args:
        folder: Any folder.
    """
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and (folder / "refs").is_dir()


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(ARCHIVES)


def name_of(repository: Path) -> str:
    """What a repository is called: its folder's or archive's name.

    Args:
        repository: One that `find_repositories` found.
    """
    name = repository.resolve().name if repository.name in ("", "..") else repository.name
    endings = sorted((e for e in (*ARCHIVES, ".git") if name.lower().endswith(e)), key=len)
    return name[: -len(endings[-1])] or name if endings else name


def entries(repository: Path) -> Iterator[Entry | Fault | Passed]:
    """The files of a repository in the order of their paths, with what is none in between.

    Args:
        repository: One that `find_repositories` found.
    """
    try:
        if repository.is_dir():
            yield from _from_git(repository) if is_bare(repository) else _walk(repository, repository)
        else:
            yield from _from_archive(repository)
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile, subprocess.SubprocessError) as error:
        yield Fault(str(repository), 0, f"the repository cannot be read: {error}")


def _walk(folder: Path, top: Path) -> Iterator[Entry | Fault | Passed]:
    for child in sorted(folder.iterdir()):
        if child.is_symlink():
            yield Passed("symbolic link")
        elif child.is_dir():
            if child.name not in _HISTORY:
                yield from _walk(child, top)
        else:
            try:
                yield Entry(child.relative_to(top).as_posix(), child.stat().st_size, child.read_bytes)
            except OSError as error:
                yield Fault(str(child), 0, f"cannot be read: {error}")


def _from_archive(path: Path) -> Iterator[Entry | Passed]:
    found: list[tuple[str, int, bytes]] = []
    others = 0
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    data = packed.read(info) if info.file_size <= MAX_FILE_BYTES else b""
                    found.append((info.filename, info.file_size, data))
    else:
        stream = path.open("rb") if path.name.lower().endswith((".tar", ".tgz")) else open_binary(path)
        with stream, tarfile.open(fileobj=stream, mode="r|*" if path.name.endswith(".tgz") else "r|") as tar:
            for member in tar:
                if member.isfile() and (file := tar.extractfile(member)):
                    data = file.read() if member.size <= MAX_FILE_BYTES else b""
                    found.append((member.name, member.size, data))
                elif not member.isdir():
                    others += 1
    for _ in range(others):
        yield Passed("symbolic link")
    names = [name.removeprefix("./").split("/") for name, _, _ in found]
    # Archives hold one folder, named after the repository and its version.
    top = len({parts[0] for parts in names}) == 1 and all(len(parts) > 1 for parts in names)
    for parts, (_, size, data) in sorted(zip(names, found, strict=True), key=lambda pair: pair[0]):
        yield Entry("/".join(parts[top:]), size, partial(bytes, data))


def _from_git(folder: Path) -> Iterator[Entry | Passed]:
    """The files of HEAD, through git itself."""
    git = ["git", "--git-dir", str(folder)]
    listed = subprocess.run([*git, "ls-tree", "-r", "-z", "--long", "HEAD"], check=True, capture_output=True).stdout
    with subprocess.Popen([*git, "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in sorted(listed.split(b"\0")[:-1], key=lambda line: line.split(b"\t", 1)[1]):
            about, _, path = line.partition(b"\t")
            mode, kind, name, size = about.split()
            if kind != b"blob" or mode == b"120000":
                yield Passed("symbolic link" if kind == b"blob" else "submodule")
                continue
            process.stdin.write(name + b"\n")
            process.stdin.flush()
            process.stdout.readline()
            data = process.stdout.read(int(size))
            process.stdout.read(1)
            yield Entry(path.decode("utf-8", "replace"), int(size), partial(bytes, data))
