"""The order of a repository's files: dependencies first."""

import heapq
from collections.abc import Mapping, Set
from pathlib import PurePosixPath


def dependency_order(imports: Mapping[str, Set[str]], documentation: Set[str] = frozenset()) -> list[str]:
    """Paths so that each file comes after those that it imports.

    Of files that could come next, the one with the shorter path does (fewer folders, then letters, then the
    alphabet). Where every file left waits for another, a cycle, the alphabetically first one starts it.
    Documentation comes before the first code file of its folder, or of a folder below. What is left of it comes at
    the end.

    Args:
        imports: The files that each code file imports.
        documentation: Paths of documentation.
    """
    waits = {path: {name for name in needed if name in imports and name != path} for path, needed in imports.items()}
    needed_by: dict[str, list[str]] = {path: [] for path in waits}
    for path, needed in waits.items():
        for name in needed:
            needed_by[name].append(path)
    ready = [(_shortness(path), path) for path, needed in waits.items() if not needed]
    heapq.heapify(ready)
    left = sorted(waits, reverse=True)
    order: list[str] = []
    done: set[str] = set()
    while len(done) < len(waits):
        path = heapq.heappop(ready)[1] if ready else _first_left(left, done)
        if path in done:
            continue
        done.add(path)
        order.append(path)
        for user in needed_by[path]:
            waits[user].discard(path)
            if not waits[user] and user not in done:
                heapq.heappush(ready, (_shortness(user), user))
    return _with_documentation(order, documentation)


def _first_left(left: list[str], done: set[str]) -> str:
    while left[-1] in done:
        left.pop()
    return left.pop()


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
