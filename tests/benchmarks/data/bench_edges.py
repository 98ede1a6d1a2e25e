"""Import edges of Python against those of Python's own import system: python bench_edges.py [PACKAGE...]

The standard library and installed packages, each as a repository of three shapes: the folder that holds the package
(as a wheel unpacks), the package below ``src/``, and the package folder as the repository. Of the standard library,
which is not one package, there are the first two. An edge is an import of a file of the same repository.

*Violated* counts the edges between files that are in no cycle together, of which the imported file comes second. The
cycles are those of the true edges, by networkx.
"""

from __future__ import annotations

import ast
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import FileFinder, ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from pathlib import Path

import networkx
from internlm2_data.code.imports import Tree, imports_of
from internlm2_data.code.order import dependency_order

PACKAGES = (
    "click", "datasets", "fsspec", "huggingface_hub", "hydra", "jinja2", "lightning", "networkx", "numpy", "pydantic",
    "requests", "rich", "sklearn", "yaml",
)  # fmt: skip
Edges = Mapping[str, set[str]]


class Finder:
    """Finds modules as Python does, below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.specs: dict[str, ModuleSpec | None] = {}
        self.finders: dict[str, FileFinder] = {}

    def spec(self, name: str) -> ModuleSpec | None:
        """The spec of a module, whose parents are packages."""
        if name not in self.specs:
            parent = name.rpartition(".")[0]
            above = self.spec(parent) if parent else None
            folders = list(above.submodule_search_locations or ()) if above else [] if parent else [str(self.root)]
            specs = [spec for folder in folders if (spec := self._finder(folder).find_spec(name))]
            # A folder without __init__ is a package only if nothing else has the name.
            self.specs[name] = next((spec for spec in specs if spec.loader), next(iter(specs), None))
        return self.specs[name]

    def file(self, name: str) -> str | None:
        """The file of a module, below the folder."""
        spec = self.spec(name) if name else None
        return Path(spec.origin).relative_to(self.root).as_posix() if spec and spec.origin else None

    def _finder(self, folder: str) -> FileFinder:
        return self.finders.setdefault(folder, FileFinder(folder, (SourceFileLoader, [".py"])))


def imported(node: ast.AST, package: tuple[str, ...], finder: Finder) -> Iterator[str | None]:
    """The files that one statement means: of each name the longest part that is a module."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.name
            while name and not finder.spec(name):
                name = name.rpartition(".")[0]
            yield finder.file(name)
    elif isinstance(node, ast.ImportFrom) and node.level <= len(package) + 1:
        base = package[: len(package) - node.level + 1] if node.level else ()
        module = ".".join((*base, *filter(None, [node.module])))
        for alias in node.names:
            yield finder.file(f"{module}.{alias.name}") or finder.file(module)


def true_edges(root: Path, paths: list[str]) -> dict[str, set[str]]:
    """Edges by Python's own rules. A file that does not parse is left out."""
    finder, edges = Finder(root), {}
    for path in paths:
        try:
            statements = ast.walk(ast.parse((root / path).read_bytes()))
        except (SyntaxError, ValueError):
            continue
        package = Path(path).parent.parts
        edges[path] = {file for node in statements for file in imported(node, package, finder) if file} - {path}
    return edges


def violated(order_by: Edges, truth: Edges) -> int:
    """Edges outside cycles whose imported file comes after the importing one."""
    place = {path: number for number, path in enumerate(dependency_order(order_by))}
    return sum(place[name] > place[path] for path, name in outside_cycles(truth))


def outside_cycles(truth: Edges) -> list[tuple[str, str]]:
    """Edges between files that are in no cycle together."""
    graph = networkx.DiGraph([(path, name) for path, names in truth.items() for name in names])
    graph.add_nodes_from(truth)
    cycle = {path: n for n, found in enumerate(networkx.strongly_connected_components(graph)) for path in found}
    return [(path, name) for path, names in truth.items() for name in names if cycle[path] != cycle[name]]


def measure(texts: Mapping[str, str], truth: Edges, name: str, moved: Callable[[str], str]) -> dict[str, float]:
    """Our edges of one repository against the true ones."""
    tree = Tree({moved(path): text for path, text in texts.items()}, name)
    right = {moved(path): {moved(other) for other in names if other in texts} for path, names in truth.items()}
    ours = {path: imports_of(path, "python", tree) & right.keys() for path in right}
    both = sum(len(ours[path] & right[path]) for path in right)
    edges, found = sum(map(len, right.values())), sum(map(len, ours.values()))
    return {
        "files": len(texts),
        "edges": edges,
        "precision": round(both / found, 4),
        "recall": round(both / edges, 4),
        "edges outside cycles": len(outside_cycles(right)),
        "violated with true edges": violated(right, right),
        "violated with ours": violated(ours, right),
    }


def shapes(root: Path, name: str, paths: list[str]) -> Iterator[tuple[str, dict[str, float]]]:
    """Figures of each shape."""
    truth = true_edges(root, paths)
    texts = {path: (root / path).read_text("utf-8", "replace") for path in truth}
    truth = {path: names & truth.keys() for path, names in truth.items()}
    yield "wheel root", measure(texts, truth, "repository", str)
    yield "src", measure(texts, truth, "repository", lambda path: f"src/{path}")
    if all(path.startswith(f"{name}/") for path in paths):
        yield "package folder", measure(texts, truth, name, lambda path: path.removeprefix(f"{name}/"))


def sources(names: list[str]) -> Iterator[tuple[str, Path, list[str]]]:
    """Each library with the folder that Python finds it in, and its files."""
    for name in names:
        if name == "stdlib":
            root = folder = Path(os.__file__).parent
        else:
            spec = find_spec(name)
            if spec is None or not spec.origin:
                print(f"{name} is not installed", flush=True)
                continue
            folder = Path(spec.origin).parent
            root = folder.parent
        files = (path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts)
        inside = (path.relative_to(root) for path in files)
        yield name, root, [path.as_posix() for path in inside if "site-packages" not in path.parts]


def summary(rows: list[dict[str, float]]) -> dict[str, float]:
    """All libraries of one shape: sums, and the lowest precision and recall."""
    lowest = {f"lowest {name}": min(row[name] for row in rows) for name in ("precision", "recall")}
    return {name: sum(row[name] for row in rows) for name in rows[0] if name not in ("precision", "recall")} | lowest


def main() -> None:
    """A line a library and shape, and at the end all libraries of each shape as JSON."""
    warnings.simplefilter("ignore")
    found: dict[str, list[dict[str, float]]] = {}
    for name, root, paths in sources(sys.argv[1:] or ["stdlib", *PACKAGES]):
        for shape, row in shapes(root, name, paths):
            found.setdefault(shape, []).append(row)
            print(f"{name:16} {shape:15} {row}", flush=True)
    print(json.dumps({shape: summary(rows) for shape, rows in found.items()}, indent=1))


if __name__ == "__main__":
    main()
