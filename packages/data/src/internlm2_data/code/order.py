"""The order of a repository's files: dependencies first."""

import heapq
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import PurePosixPath

Imports = Mapping[str, Set[str]]


def dependency_order(imports: Imports, documentation: Set[str] = frozenset()) -> list[str]:
    """Paths so that each file comes after those that it imports.

    Of files that could come next, the one with the shorter path does (fewer folders, then letters, then the
    alphabet). Files that need each other, a cycle, follow each other: the alphabetically first one starts it, and what
    then is left of the cycle is ordered by the same rules. What only depends on a cycle comes after it.
    Documentation comes before the first code file of its folder, or of a folder below. What is left of it comes at
    the end.

    Args:
        imports: The files that each code file imports.
        documentation: Paths of documentation.
    """
    order: list[str] = []
    pending = [_cycles_in_order(imports, imports)]
    while pending:
        cycle = next(pending[-1], None)
        if cycle is None:
            pending.pop()
            continue
        first = min(cycle)
        order.append(first)
        if len(cycle) > 1:
            pending.append(_cycles_in_order(imports, cycle - {first}))
    return _with_documentation(order, documentation)


def _cycles_in_order(imports: Imports, among: Iterable[str]) -> Iterator[set[str]]:
    """Strongly connected components of some files, dependencies first. A file in no cycle is one of its own."""
    inside = dict.fromkeys(sorted(among))
    edges = {path: [name for name in sorted(imports[path]) if name in inside and name != path] for path in inside}
    components = list(_components(edges))
    number = {path: place for place, component in enumerate(components) for path in component}
    waits = [{number[name] for path in c for name in edges[path]} - {place} for place, c in enumerate(components)]
    needed_by: list[list[int]] = [[] for _ in components]
    for place, needed in enumerate(waits):
        for other in needed:
            needed_by[other].append(place)
    keys = [(_shortness(first), first) for first in map(min, components)]
    ready = [(keys[place], place) for place, needed in enumerate(waits) if not needed]
    heapq.heapify(ready)
    while ready:
        _, place = heapq.heappop(ready)
        yield components[place]
        for user in needed_by[place]:
            waits[user].discard(place)
            if not waits[user]:
                heapq.heappush(ready, (keys[user], user))


def _components(edges: Mapping[str, list[str]]) -> Iterator[set[str]]:
    """Tarjan's algorithm (1972) without recursion, since a chain of imports may be long."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    on_stack: set[str] = set()
    for start in edges:
        if start in index:
            continue
        work = [(start, iter(edges[start]))]
        while work:
            path, rest = work[-1]
            if path not in index:
                index[path] = low[path] = len(index)
                stack.append(path)
                on_stack.add(path)
            for name in rest:
                if name not in index:
                    work.append((name, iter(edges[name])))
                    break
                if name in on_stack:
                    low[path] = min(low[path], index[name])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[path])
                if low[path] == index[path]:
                    place = stack.index(path) if stack[-1] != path else len(stack) - 1
                    component = set(stack[place:])
                    del stack[place:]
                    on_stack -= component
                    yield component


def _shortness(path: str) -> tuple[int, int]:
    return path.count("/"), len(path)


def _with_documentation(code: list[str], documentation: Set[str]) -> list[str]:
    by_folder: dict[str, list[str]] = {}
    for path in sorted(documentation, key=lambda path: (_shortness(path), path)):
        by_folder.setdefault(str(PurePosixPath(path).parent), []).append(path)
    order: list[str] = []
    for path in code:
        for folder in reversed([str(parent) for parent in PurePosixPath(path).parents]):
            order += by_folder.pop(folder, [])
        order.append(path)
    return order + [path for paths in by_folder.values() for path in paths]
