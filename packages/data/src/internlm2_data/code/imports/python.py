"""Imports of Python, by its own parser, and by a regular expression where that refuses a file.

``from package import name`` means the module ``package.name`` where there is one, and the package otherwise.
"""

import ast
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from internlm2_data.code.imports.tree import Tree, folder_of, joined

_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+(\.*[\w.]*)[ \t]+c?import[ \t]+(\([^)]*\)|[^\n#;]+)|c?import[ \t]+([^\n#;]+))", re.MULTILINE
)
_CONVENTIONS = ("", "src", "lib", "python")
_VERSION = re.compile(r"-(v?\d[\w.]*|main|master|develop|trunk)$")


class Import(NamedTuple):
    """One imported name.

    Attributes:
        level: How many dots it begins with.
        module: The module, perhaps empty after dots.
        name: What is taken from it, empty for the module itself.
    """

    level: int
    module: str
    name: str = ""


def python_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says.

    Args:
        path: Of the file.
        tree: The repository.
    """
    roots = _roots(path, tree)
    for level, module, name in _parsed(tree.text(path)):
        if level:
            if level <= path.count("/") + 1:
                folder = "/".join(path.split("/")[:-level])
                yield from _first((folder,), module, name, tree)
        elif not _of_itself(module, tree):
            others = tree.package_roots.get(module.partition(".")[0], ())
            yield from _first((*roots, *others), module, name, tree)
        else:
            # The repository is the package: its own name leads to its top.
            yield from _first(("",), module.partition(".")[2], name, tree)


def _first(roots: Sequence[str], module: str, name: str, tree: Tree) -> Iterator[str]:
    parts = [part for part in (*module.split("."), name) if part]
    # A name may be a module or something in one. `import os.path` may mean something in os too.
    least = len(parts) - 1 if name else min(1, len(parts))
    for end in range(len(parts), least - 1, -1):
        inside = "/".join(parts[:end])
        for root in roots:
            path = tree.modules.get(joined(root, inside) or "__init__")
            if path is not None:
                yield path
                return


def _of_itself(module: str, tree: Tree) -> bool:
    first, short = module.partition(".")[0], _VERSION.sub("", tree.name)
    fits = first in (tree.name, short, short.replace("-", "_"))
    return fits and "__init__.py" in tree and first not in tree.modules


def _roots(path: str, tree: Tree) -> tuple[str, ...]:
    """Folders where modules are looked for, the most likely first."""
    folder = folder_of(path)
    root = folder
    while root and f"{root}/__init__.py" in tree:
        root = folder_of(root)
    # A file in no package sees the files beside it, as a script does.
    beside = (folder,) if root == folder else ()
    roots = dict.fromkeys((*beside, root, *_CONVENTIONS))
    if "__init__.py" in tree:
        # The repository is a package, and what is inside one is not found by its bare name.
        del roots[""]
    return tuple(roots)


def _parsed(text: str) -> Iterator[Import]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from _searched(text)
        return
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (Import(0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (Import(node.level, node.module or "", _name(alias.name)) for alias in node.names)


def _searched(text: str) -> Iterator[Import]:
    """Imports of Python 2, Cython and notebooks."""
    for source, names, plain in _IMPORT.findall(text):
        if plain:
            yield from (Import(0, name.split(" as ")[0].strip()) for name in plain.split(","))
            continue
        level = len(source) - len(source.lstrip("."))
        for name in re.sub(r"#[^\n]*", "", names).strip("() \n").split(","):
            yield Import(level, source[level:], _name(name.split(" as ")[0].strip(" \n\t\\")))


def _name(name: str) -> str:
    return "" if name == "*" else name
