"""Imports by names whose parts are folders and files: Java, Kotlin, Scala, C#, PHP, Ruby."""

import re
from collections.abc import Iterator

from internlm2_data.code.imports.tree import Tree, folder_of

_JAVA = re.compile(r"^\s*import\s+(?:static\s+)?([\w.]+?)(\.\*)?\s*(?:;|$|\bas\b)", re.MULTILINE)
_SCALA = re.compile(r"^\s*import\s+([\w.]+?)(?:\.(\{[^}]*\}|_|\*))?\s*$", re.MULTILINE)
_CSHARP = re.compile(r"^\s*(?:global\s+)?using\s+(?:static\s+)?(?:\w+\s*=\s*)?([\w.]+)\s*;", re.MULTILINE)
_PHP = re.compile(
    r"(?:require|include)(?:_once)?[\s(]+(?:__DIR__\s*\.\s*|dirname\(__FILE__\)\s*\.\s*)?['\"]/?([^'\"]+)['\"]"
    r"|^\s*use\s+(?:function\s+|const\s+)?\\?([\w\\]+)",
    re.MULTILINE,
)
_RUBY = re.compile(r"^\s*(require_relative|require|load|autoload\s+:\w+,)\s*\(?\s*['\"]([^'\"]+)['\"]", re.MULTILINE)
_JVM = (".java", ".kt", ".scala", ".groovy")


def java_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says. ``import a.b.*`` means all files of the package.

    Args:
        path: Of the file.
        tree: The repository.
    """
    for name, star in _JAVA.findall(tree.text(path)):
        yield from _package(name, path, tree) if star else _class(name, path, tree)


def scala_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says.

    Args:
        path: Of the file.
        tree: The repository.
    """
    for name, rest in _SCALA.findall(tree.text(path)):
        if rest.startswith("{"):
            for part in rest.strip("{}").split(","):
                yield from _class(f"{name}.{part.split('=>')[0].strip()}", path, tree)
        elif rest:
            yield from _package(name, path, tree)
        else:
            yield from _class(name, path, tree)


def _class(name: str, near: str, tree: Tree) -> Iterator[str]:
    """The file of a class. What is imported may be inside it."""
    parts = name.split(".")
    for end in range(len(parts), max(1, len(parts) - 2), -1):
        found = [path for ending in _JVM for path in tree.ending("/".join(parts[:end]) + ending, near)]
        if found:
            yield found[0]
            return


def _package(name: str, near: str, tree: Tree) -> Iterator[str]:
    inside = name.replace(".", "/")
    folders = sorted({folder_of(path) for path in tree.texts if path.endswith(_JVM)})
    for folder in folders:
        if folder == inside or folder.endswith(f"/{inside}"):
            yield from (path for ending in _JVM for path in tree.in_folder(folder, ending))
    yield from _class(name, near, tree)


def csharp_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says. A namespace means the files that declare it.

    Args:
        path: Of the file.
        tree: The repository.
    """
    spaces = tree.namespaces
    own = {name for name, paths in spaces.items() if path in paths}
    for name in _CSHARP.findall(tree.text(path)):
        if name not in own:
            yield from spaces.get(name, ())


def php_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says. By PSR-4 the first parts of a name may stand for any folder.

    Args:
        path: Of the file.
        tree: The repository.
    """
    for file, name in _PHP.findall(tree.text(path)):
        if file:
            yield from tree.first((f"{folder_of(path)}/{file}", file))
            continue
        parts = name.split("\\")
        tails = ("/".join(parts[start:]) + ".php" for start in range(min(len(parts) - 1, 3)))
        yield from next((found for tail in tails if (found := [*tree.ending(tail, path)])), [])


def ruby_imports(path: str, tree: Tree) -> Iterator[str]:
    """Files that one file imports, as `imports_of` says.

    Args:
        path: Of the file.
        tree: The repository.
    """
    folder = folder_of(path)
    for kind, name in _RUBY.findall(tree.text(path)):
        name = name.removesuffix(".rb") + ".rb"
        if kind == "require_relative":
            yield from tree.first((f"{folder}/{name}",))
        else:
            yield from tree.first((f"lib/{name}", name, f"app/{name}", f"test/{name}", f"spec/{name}"))
