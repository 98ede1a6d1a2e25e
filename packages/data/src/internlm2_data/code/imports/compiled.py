"""Imports of C, C++, Go, Rust and Swift."""

import re
from collections.abc import Iterator

from internlm2_data.code.imports.tree import Tree, folder_of, joined

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*(?:include|import)[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
_GO = re.compile(r'^\s*(?:import\s+)?(?:[\w.]+\s+)?"([\w./~-]+)"\s*(?://.*)?$', re.MULTILINE)
_GO_MODULE = re.compile(r"^\s*module\s+(\S+)", re.MULTILINE)
_RUST = re.compile(
    r"^\s*(?:pub(?:\([\w: ]+\))?\s+)?(?:mod\s+(\w+)\s*;|use\s+((?:crate|super|self)\b[^;]*);)", re.MULTILINE
)
_SWIFT = re.compile(r"^\s*(?:@\w+\s+)?import\s+(?:(?:class|struct|enum|protocol|func|var|let)\s+)?(\w+)", re.MULTILINE)


def c_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says.

    Args:
        path: Of the file.
        tree: The repository.
    """
    folder = folder_of(path)
    for mark, name in _INCLUDE.findall(tree.text(path)):
        beside = [f"{folder}/{name}"] if mark == '"' else []
        found = [*tree.first([*beside, name, f"include/{name}", f"src/{name}"])]
        # <math.h> is not some math.h at the other end of the repository, <lib/math.h> may be.
        if not found and (mark == '"' or "/" in name) and ".." not in name:
            found = [*tree.ending(name, path)]
        yield from found


def go_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says. An import means a package, which is a folder.

    Args:
        path: Of the file.
        tree: The repository.
    """
    module, root = "", tree.above(path, "go.mod")
    if root is not None and (found := _GO_MODULE.search(tree.text(joined(root, "go.mod")))):
        module = found.group(1)
    for name in _GO.findall(tree.text(path)):
        if module and (name == module or name.startswith(module + "/")):
            yield from _go_files(joined(root or "", name[len(module) + 1 :]), tree)
        elif not module and "." in name.split("/", 1)[0]:
            parts = name.split("/")
            folders = ("/".join(parts[start:]) for start in range(1, len(parts)))
            yield from next((files for folder in folders if (files := _go_files(folder, tree))), [])


def _go_files(folder: str, tree: Tree) -> list[str]:
    return [path for path in tree.in_folder(folder, ".go") if not path.endswith("_test.go")]


def rust_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says.

    Args:
        path: Of the file.
        tree: The repository.
    """
    stem = path.rsplit("/", 1)[-1].removesuffix(".rs")
    # Where the modules of this file lie, and where the crate begins.
    own = folder_of(path) if stem in ("mod", "lib", "main") else path.removesuffix(".rs")
    crate = "src" if path.startswith("src/") else f"{path.rpartition('/src/')[0]}/src" if "/src/" in path else ""
    for module, used in _RUST.findall(tree.text(path)):
        if module:
            yield from tree.first((f"{own}/{module}.rs", f"{own}/{module}/mod.rs"))
            continue
        for parts in _rust_paths(used):
            start = {"crate": crate, "self": own, "super": folder_of(own)}.get(parts[0], own)
            rest = parts[1:]
            while parts[0] == "super" and rest[:1] == ["super"]:
                start, rest = folder_of(start), rest[1:]
            insides = ["/".join(rest[:end]) for end in range(len(rest), 0, -1)]
            yield from tree.first(joined(start, inside) + end for inside in insides for end in (".rs", "/mod.rs"))


def _rust_paths(used: str) -> Iterator[list[str]]:
    """The paths of a ``use``, braces resolved: ``crate::{a, b::c}`` is ``crate::a`` and ``crate::b::c``."""
    used = re.sub(r"//[^\n]*|/\*.*?\*/", "", used, flags=re.DOTALL)
    begin, brace, rest = used.partition("{")
    prefix = [part.strip() for part in begin.split("::") if part.strip()]
    if not brace:
        yield [part.split(" as ")[0].strip() for part in prefix]
        return
    depth, item = 0, ""
    for sign in rest + ",":
        depth += (sign == "{") - (sign == "}")
        if (sign == "," and depth == 0) or depth < 0:
            if item.strip():
                yield from (prefix + path for path in _rust_paths(item.strip()))
            item = ""
            if depth < 0:
                return
        else:
            item += sign


def swift_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says. A module is a folder of ``Sources``.

    Args:
        path: Of the file.
        tree: The repository.
    """
    for module in _SWIFT.findall(tree.text(path)):
        folder = f"Sources/{module}/"
        if not path.startswith(folder):
            yield from (other for other in tree.texts if other.startswith(folder) and other.endswith(".swift"))
