"""English prose of installed packages: their READMEs, then the documentation strings of their modules."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from inspect import cleandoc
from pathlib import Path
from typing import Any

MIN_README = 500
MIN_DOCUMENTATION = 1000
MAX_MODULE_BYTES = 1 << 20
_SKIPPED = re.compile(r"(^|[/_])(tests?|testing|vendor|vendored|pip|conftest)([/_.]|$)")
# A string in triple quotes at the head of a file or after a colon: a documentation string, found without parsing (which
# would take ten times as long).
_DOCSTRING = re.compile(r'(?:\A(?:\s*#[^\n]*\n)*\s*|:[ \t]*\n[ \t]*)[rRuU]?"""(.+?)"""', re.DOTALL)


def package_texts() -> Iterator[dict[str, Any]]:
    """Records of READMEs by package name, then of documentation strings in an order that mixes the packages."""
    installed = sorted(distributions(), key=lambda d: (d.metadata["Name"] or "").lower())
    seen: set[str] = set()
    for package in installed:
        name = package.metadata["Name"] or ""
        text = str(package.metadata.json.get("description") or "").strip()
        if name and name not in seen and len(text) >= MIN_README:
            yield _record(text, f"https://pypi.example.org/project/{name}/", name)
        seen.add(name)
    for name, path in sorted(_modules(installed), key=lambda module: _scatter(module[0], module[1].name)):
        if text := documentation(path):
            yield _record(text, f"https://docs.example.org/{name}/{path.name}", name)


def documentation(path: Path) -> str:
    """The documentation strings of a module, in order; empty where there is little of it."""
    source = path.read_text("utf-8", "replace")
    strings = [cleandoc(found).strip() for found in _DOCSTRING.findall(source)]
    text = "\n\n".join(string for string in strings if len(string) > 80)
    return text if len(text) >= MIN_DOCUMENTATION else ""


def _record(text: str, url: str, package: str) -> dict[str, Any]:
    return {"text": text, "source": "techlit", "type": "prose", "url": url, "meta": {"package": package}}


def _modules(installed: list[Distribution]) -> Iterator[tuple[str, Path]]:
    for package in installed:
        for file in package.files or ():
            if file.suffix == ".py" and not _SKIPPED.search(str(file)):
                path = Path(str(package.locate_file(file)))
                if path.is_file() and path.stat().st_size <= MAX_MODULE_BYTES:
                    yield package.metadata["Name"], path


def _scatter(package: str, module: str) -> bytes:
    return hashlib.blake2b(f"{package}/{module}".encode(), digest_size=8).digest()
