"""The standard library as repositories: a folder a package, and one for each initial of its single modules."""

import shutil
import sysconfig
from collections.abc import Iterator
from pathlib import Path

SKIPPED = frozenset(
    {"test", "tests", "idle_test", "site-packages", "dist-packages", "idlelib", "lib2to3", "pydoc_data", "__pycache__"}
)
ENDINGS = frozenset({".py", ".md", ".rst", ".txt", ".toml", ".cfg", ".c", ".h"})


def copy_repositories(output: Path, max_bytes: int) -> int:
    """Copy packages in the order of their names until their files reach `max_bytes`. Returns the bytes copied.

    Args:
        output: Folder to fill.
        max_bytes: Most bytes of code.
    """
    part = output.with_name(output.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    total = 0
    for name, files in sorted(repositories().items()):
        size = sum(path.stat().st_size for path, _ in files)
        if total + size > max_bytes:
            continue
        total += size
        for path, inside in files:
            target = part / name / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    shutil.rmtree(output, ignore_errors=True)
    part.replace(output)
    return total


def repositories() -> dict[str, list[tuple[Path, Path]]]:
    """Files of each repository with their paths inside it."""
    library = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, list[tuple[Path, Path]]] = {}
    for entry in sorted(library.iterdir()):
        if entry.name in SKIPPED or entry.name.startswith("_"):
            continue
        if (entry / "__init__.py").is_file():
            found[entry.name] = [(path, path.relative_to(library)) for path in _files(entry)]
        elif entry.suffix == ".py":
            found.setdefault(f"modules-{entry.name[0].lower()}", []).append((entry, Path(entry.name)))
    return found


def _files(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name not in SKIPPED:
            yield from _files(entry)
        elif entry.suffix in ENDINGS:
            yield entry
