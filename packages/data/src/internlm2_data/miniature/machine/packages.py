"""English prose of installed packages: their READMEs, then the documentation strings of their modules."""

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
    # `metadata` parses a file at every access.
    installed: dict[str, tuple[str, Distribution]] = {}
    for package in distributions():
        about = package.metadata.json
        installed.setdefault(str(about["name"]), (str(about.get("description") or "").strip(), package))
    for name in sorted(installed, key=str.lower):
        readme, _ = installed[name]
        if len(readme) >= MIN_README:
            yield _record(readme, f"https://pypi.example.org/project/{name}/", name)
    modules = [(name, path) for name, (_, package) in installed.items() for path in _modules(package)]
    for name, path in sorted(modules, key=lambda module: _scatter(module[0], module[1].name)):
        if text := documentation(path):
            yield _record(text, f"https://docs.example.org/{name}/{path.name}", name)


def documentation(path: Path) -> str:
    """The documentation strings of a module, in order. Empty where there is little of it."""
    source = path.read_text("utf-8", "replace")
    strings = [cleandoc(found).strip() for found in _DOCSTRING.findall(source)]
    text = "\n\n".join(string for string in strings if len(string) > 80)
    return text if len(text) >= MIN_DOCUMENTATION else ""


def _record(text: str, url: str, package: str) -> dict[str, Any]:
    return {"text": text, "source": "techlit", "type": "prose", "url": url, "meta": {"package": package}}


def _modules(package: Distribution) -> Iterator[Path]:
    for file in package.files or ():
        if file.suffix == ".py" and not _SKIPPED.search(str(file)):
            path = Path(str(package.locate_file(file)))
            if path.is_file() and path.stat().st_size <= MAX_MODULE_BYTES:
                yield path


def _scatter(package: str, module: str) -> bytes:
    return hashlib.blake2b(f"{package}/{module}".encode(), digest_size=8).digest()
