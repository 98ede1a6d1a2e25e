"""Imports of JavaScript, TypeScript and their single-file components."""

import json
import re
from collections.abc import Iterator
from typing import Any

from internlm2_data.code.imports.tree import Tree, folder_of, joined

_IMPORT = re.compile(
    r"(?:\bfrom|\bimport|\brequire\s*\(|\bimport\s*\()\s*['\"]([^'\"\n]+)['\"]"
    r"|///\s*<reference\s+path=\s*['\"]([^'\"\n]+)['\"]"
)
_ENDINGS = ("", ".ts", ".tsx", ".d.ts", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs", ".vue", ".svelte", ".json")
_INDEX = tuple(f"/index{ending}" for ending in _ENDINGS[1:])
# TypeScript names the file that its compiler will write.
_WRITTEN = {".js": (".ts", ".tsx"), ".jsx": (".tsx",), ".mjs": (".mts",), ".cjs": (".cts",)}
# What JSON lacks and tsconfig.json has. Strings are matched too, so that what is in them stays.
_COMMENT = re.compile(r"(\"(?:[^\"\\]|\\.)*\")|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA = re.compile(r"(\"(?:[^\"\\]|\\.)*\")|,(?=\s*[}\]])")


def script_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says.

    Args:
        path: Of the file.
        tree: The repository.
    """
    for name, reference in _IMPORT.findall(tree.text(path)):
        if reference or name.startswith("."):
            yield from tree.first(_files(f"{folder_of(path)}/{reference or name}"))
        else:
            found = [*tree.first(file for inside in _mapped(name, path, tree) for file in _files(inside))]
            yield from found or _workspace(name, tree)


def _files(name: str) -> Iterator[str]:
    for ending in _ENDINGS + _INDEX:
        yield name + ending
    for ending, sources in _WRITTEN.items():
        if name.endswith(ending):
            yield from (name.removesuffix(ending) + source for source in sources)


def _mapped(name: str, path: str, tree: Tree) -> Iterator[str]:
    """Where ``paths`` and ``baseUrl`` of the nearest tsconfig.json or jsconfig.json lead."""
    for config in ("tsconfig.json", "jsconfig.json"):
        folder = tree.above(path, config)
        if folder is None:
            continue
        options = _json(tree.text(joined(folder, config))).get("compilerOptions")
        options = options if isinstance(options, dict) else {}
        base = joined(folder, str(options.get("baseUrl", ".")))
        paths = options.get("paths")
        for pattern, targets in (paths if isinstance(paths, dict) else {}).items():
            begin, star, end = str(pattern).partition("*")
            fits = name.startswith(begin) and name.endswith(end) if star else name == pattern
            if fits and isinstance(targets, list):
                middle = name[len(begin) : len(name) - len(end)] if star else ""
                yield from (f"{base}/{str(target).replace('*', middle)}" for target in targets)
        if "baseUrl" in options:
            yield f"{base}/{name}"


def _workspace(name: str, tree: Tree) -> Iterator[str]:
    """A package of the same repository, by the name that its package.json has."""
    parts = name.split("/")
    package = "/".join(parts[: 2 if name.startswith("@") else 1])
    for path in tree.texts:
        if path.endswith("package.json") and f'"{package}"' in tree.text(path):
            config = _json(tree.text(path))
            if config.get("name") == package:
                inside, folder = name[len(package) + 1 :], folder_of(path)
                entries = [inside, f"src/{inside}"] if inside else ["src/index", str(config.get("main", "index"))]
                yield from tree.first(file for entry in entries for file in _files(joined(folder, entry)))
                return


def _json(text: str) -> dict[str, Any]:
    try:
        for pattern in (_COMMENT, _LAST_COMMA):
            text = pattern.sub(lambda found: found.group(1) or "", text)
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
