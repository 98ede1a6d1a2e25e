"""Hashes of files, of source code and of text."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

IMPORTS = {
    "internlm2_core": ("internlm2_records",),
    "internlm2_data": ("internlm2_records",),
    "internlm2_align": ("internlm2_core", "internlm2_records"),
}
"""Our packages that import another of ours: their code depends on it too."""

NOT_OUTPUTS = ("manifest.json", ".manifest.json", ".hydra", "logs")
"""What a stage's folder holds that is no result: records of the run itself."""


def text_hash(text: str) -> str:
    """SHA-256 of a text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(file: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def sampled_hash(path: Path) -> str:
    """SHA-256 of size and samples of a file, or of all files below a folder: quick for files of any size.

    Of a file of more than 1 MiB four blocks are read, spread over it. Hidden files do not count.
    """
    if path.is_file():
        return text_hash(f"{path.stat().st_size} {hashlib.sha256(b''.join(samples(path))).hexdigest()}")
    return hash_of(contents_of(path))


def hash_of(contents: Mapping[str, Sequence[Any]]) -> str:
    """The sampled hash of a folder, whose files were hashed already.

    Args:
        contents: Its files, from `contents_of`.
    """
    return text_hash("\n".join(f"{name} {hashed}" for name, (_, hashed) in contents.items()))


def shown_files(folder: Path) -> list[Path]:
    """Files below a folder, sorted, by their paths in it. Hidden ones do not count."""
    names = sorted(file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return [name for name in names if not any(part.startswith(".") for part in name.parts)]


def contents_of(folder: Path) -> dict[str, list[Any]]:
    """Size in bytes and sampled hash of each file below a folder, by its path in it."""
    return {str(name): [(folder / name).stat().st_size, sampled_hash(folder / name)] for name in shown_files(folder)}


def samples(file: Path, whole_bytes: int = 2**20, blocks: int = 4, block_bytes: int = 2**16) -> Iterator[bytes]:
    """A file's first and last block and others evenly between them. All of a short one.

    Args:
        file: The file.
        whole_bytes: Size up to which it is read as a whole.
        blocks: Number of blocks.
        block_bytes: Size of each.
    """
    size = file.stat().st_size
    with file.open("rb") as opened:
        if size <= whole_bytes:
            yield opened.read()
            return
        for number in range(blocks):
            opened.seek(number * (size - block_bytes) // (blocks - 1))
            yield opened.read(block_bytes)


def targets(node: Any) -> set[str]:
    """Top-level packages that a configuration calls."""
    if isinstance(node, Mapping):
        own = {str(node["_target_"]).partition(".")[0]} if "_target_" in node else set()
        return own.union(*(targets(value) for value in node.values()))
    if isinstance(node, list):
        return set().union(*(targets(value) for value in node))
    return set()


def code_hash(packages: Iterable[str]) -> str:
    """Hash of the source of those of our packages that are named, and of what they import of ours."""
    ours = {package for package in packages if package.startswith("internlm2_")}
    ours |= {imported for package in ours for imported in IMPORTS.get(package, ())}
    lines = []
    for package in sorted(ours):
        spec = find_spec(package)
        assert spec is not None and spec.submodule_search_locations
        source = Path(next(iter(spec.submodule_search_locations)))
        files = sorted(file for file in source.rglob("*") if file.suffix in (".py", ".yaml", ".txt", ".j2"))
        # Configuration is hashed by its resolved values.
        if package == "internlm2_conf":
            files = [file for file in files if file.suffix == ".py"]
        lines += [f"{package}/{file.relative_to(source)} {file_hash(file)}" for file in files]
    return text_hash("\n".join(lines))


def file_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and hash of every result below a folder, by relative path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = {str(file.relative_to(folder)): file for file in files}
    return {
        name: {"bytes": file.stat().st_size, "sha256": file_hash(file)}
        for name, file in names.items()
        if Path(name).parts[0] not in NOT_OUTPUTS
    }


def is_intact(folder: Path, records: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether every recorded file is there in its size. ``internlm2 verify`` compares contents.

    Args:
        folder: Folder of the stage.
        records: What `file_records` said of it.
    """
    files = ((folder / name, record["bytes"]) for name, record in records.items())
    return all(file.is_file() and file.stat().st_size == size for file, size in files)
