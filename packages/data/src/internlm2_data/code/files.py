"""From repositories to their files as documents."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from internlm2_data.code.languages import language_of, language_of_script
from internlm2_data.code.licences import is_licence, licence_of
from internlm2_data.code.notebooks import notebook_as_markdown
from internlm2_data.code.repositories import MAX_FILE_BYTES, Entry, entries, name_of
from internlm2_data.document import Document
from internlm2_data.io.items import Fault, Passed
from internlm2_data.stages.sieves import Sifted
from internlm2_data.stores import InputFile
from internlm2_data.web.charset import decode

FOREIGN = frozenset({"node_modules", "__pycache__", "vendor", "third_party", "dist", "build", ".venv", ".tox"})
"""Folders of code of others, or that a build wrote. A Python package of such a name is read."""
_PACKAGE_FILES = ("pyproject.toml", "setup.cfg", "package.json", "Cargo.toml")
_CODING = re.compile(rb"^[^\n]*(?:\n[^\n]*)?coding[:=]\s*([-\w.]+)")


@dataclass(frozen=True)
class RepositorySieve:
    """Reads the files of repositories as documents, in the order of their paths."""

    absent: Sequence[str] = ()

    def sift(self, files: Sequence[InputFile], stage: str) -> Iterator[Sifted]:
        """See `Sieve`; `files` are the folders of repositories."""
        for repository in files:
            assert isinstance(repository, Path)
            yield from _files_of(repository)


def _files_of(repository: Path) -> Iterator[Sifted]:
    found: list[Entry] = []
    for entry in entries(repository):
        if isinstance(entry, Entry):
            found.append(entry)
        else:
            yield entry
    packages = {entry.path.rpartition("/")[0] for entry in found if entry.path.endswith("/__init__.py")}
    name, licence = name_of(repository), _licence(found)
    for entry in found:
        if (reason := _foreign(entry.path, packages)) is not None:
            yield Passed(reason)
        elif is_licence(entry.path):
            yield Passed("file of a licence, which is recorded")
        else:
            yield _document(repository, entry, {"repository": name, "licence": licence})


def _licence(found: Sequence[Entry]) -> str:
    top = [e for e in found if "/" not in e.path and (is_licence(e.path) or e.path in _PACKAGE_FILES)]
    texts = {}
    for entry in top:
        if entry.size <= MAX_FILE_BYTES:
            try:
                texts[entry.path] = decode(entry.read(), html=False)[0]
            except OSError:  # it becomes a fault when its turn comes
                continue
    return licence_of(texts)


def _foreign(path: str, packages: set[str]) -> str | None:
    """Why a file is left out, by the folders that it is in."""
    folder = ""
    for part in path.split("/")[:-1]:
        folder = f"{folder}/{part}".lstrip("/")
        if part in FOREIGN and folder not in packages:
            return f"file in a folder named {part}"
        if part.startswith("."):
            return "file in a hidden folder"
    return None


def _document(repository: Path, entry: Entry, about: Mapping[str, str]) -> Sifted:
    place = str(repository / entry.path) if repository.is_dir() else f"{repository}: {entry.path}"
    language = language_of(entry.path)
    suffix = PurePosixPath(entry.path).suffix
    if language is None and suffix:
        return Passed(f"file ending in {suffix.lower()}")
    if entry.size > MAX_FILE_BYTES:
        return Fault(place, 0, f"not read as text: {entry.size} bytes")
    try:
        data = entry.read()
    except OSError as error:
        return Fault(place, 0, f"cannot be read: {error}")
    language = language or language_of_script(data[:256])
    if language is None:
        return Passed("file without an ending")
    if b"\0" in data[:8192] and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return Fault(place, 0, f"not read as text: {entry.size} bytes, binary")
    coding = _CODING.match(data) if language == "python" else None
    text = decode(data, coding.group(1).decode() if coding else "", html=False)[0].replace("\r\n", "\n")
    if language == "jupyter":
        try:
            text = notebook_as_markdown(text)
        except ValueError as error:
            return Fault(place, 0, str(error).rstrip("."))
    return (
        Document(
            text=text,
            source="code",
            language=language,
            type="code",
            url=f"{about['repository']}/{entry.path}",
            meta={**about, "path": entry.path, "folder": str(repository)},
        ),
        True,
    )
