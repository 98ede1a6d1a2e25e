"""From folders to the files of repositories."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from internlm2_data.code.languages import language_of
from internlm2_data.document import Document
from internlm2_data.io.items import Fault
from internlm2_data.stages.sieves import Sifted
from internlm2_data.web.charset import decode

MAX_FILE_BYTES = 1 << 20
SKIPPED = frozenset(
    {".git", ".hg", ".svn", "node_modules", "__pycache__", "vendor", "third_party", "dist", "build", ".venv", ".tox"}
)
_MARKS = (".git", "pyproject.toml", "setup.py", "package.json", "Cargo.toml", "go.mod", "pom.xml", "CMakeLists.txt")


def find_repositories(inputs: Sequence[str | Path]) -> list[Path]:
    """The repositories that inputs mean: a folder with a mark of one (.git, pyproject.toml, ...) is one, else its
    folders are.

    Raises:
        FileNotFoundError: If an input is not a folder.
        ValueError: If there are none.
    """
    found: list[Path] = []
    for name in inputs:
        folder = Path(name)
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder} is not a folder of repositories.")
        if any((folder / mark).exists() for mark in _MARKS):
            found.append(folder)
        else:
            found += sorted(child for child in folder.iterdir() if child.is_dir() and child.name not in SKIPPED)
    if not found:
        raise ValueError(f"inputs={list(map(str, inputs))} hold no repository.")
    return found


@dataclass(frozen=True)
class RepositorySieve:
    """Reads the files of repositories as documents, in the order of their paths."""

    absent: Sequence[str] = ()

    def sift(self, files: Sequence[Path], stage: str) -> Iterator[Sifted]:
        """See `Sieve`; `files` are the folders of repositories."""
        for repository in files:
            for path in walk(repository):
                yield from self._read(repository, path)

    def _read(self, repository: Path, path: Path) -> Iterator[Sifted]:
        inside = path.relative_to(repository).as_posix()
        name = repository.resolve().name if repository.name in ("", "..") else repository.name
        language = language_of(inside)
        if language is None:
            return
        try:
            size = path.stat().st_size
            data = path.read_bytes() if size <= MAX_FILE_BYTES else b""
        except OSError as error:
            yield Fault(str(path), 0, f"cannot be read: {error}")
            return
        if size > MAX_FILE_BYTES or b"\0" in data[:8192]:
            yield Fault(str(path), 0, f"not read as text: {size} bytes" + (", binary" if data else ""))
            return
        text, _ = decode(data, html=False)
        yield (
            Document(
                text=text.replace("\r\n", "\n"),
                source="code",
                language=language,
                type="code",
                url=f"{name}/{inside}",
                meta={"repository": name, "path": inside, "folder": str(repository)},
            ),
            True,
        )


def walk(folder: Path) -> Iterator[Path]:
    """Files below a folder, by name. Links are not followed."""
    for entry in sorted(folder.iterdir()):
        if entry.is_symlink():
            continue
        if entry.is_dir():
            if entry.name not in SKIPPED and not entry.name.startswith("."):
                yield from walk(entry)
        else:
            yield entry
