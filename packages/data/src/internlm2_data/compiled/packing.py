"""Best-fit packing: each item into the fullest row that still has room for it (arXiv 2404.10830)."""

from typing import Any

import numba
import numpy as np


@numba.njit(cache=True)
def best_fit(sizes: Any, capacity: int, row_of: Any) -> int:
    """Pack items in the given order. Returns how many rows there are.

    A tree over the sizes of room says which ones some row has, so that an item costs the logarithm of the capacity.

    Args:
        sizes: Size of each item, from 1 to the capacity, [items].
        capacity: Size of a row.
        row_of: Gets the row of each item, [items].
    """
    leaves = 1
    while leaves <= capacity:
        leaves *= 2
    tree = np.zeros(2 * leaves, np.bool_)
    # Rows with equal room are chained: the youngest by its room, the others each by the one before.
    youngest, older = np.full(capacity + 1, -1, np.int64), np.full(sizes.size, -1, np.int64)
    rows = 0
    for item in range(sizes.size):
        room = _least_room(tree, leaves, sizes[item])
        if room < 0:
            room, row = capacity, rows
            rows += 1
        else:
            row = youngest[room]
            youngest[room] = older[row]
            if youngest[room] < 0:
                _clear(tree, leaves + room)
        row_of[item] = row
        left = room - sizes[item]
        if left > 0:
            older[row], youngest[left] = youngest[left], row
            _mark(tree, leaves + left)
    return rows


@numba.njit(cache=True)
def _least_room(tree: Any, leaves: int, size: int) -> int:
    """The least room of a row that is `size` or more, -1 where no row has that."""
    node = leaves + size
    if tree[node]:
        return size
    while node > 1:
        if node % 2 == 0 and tree[node + 1]:
            node += 1
            while node < leaves:
                node = 2 * node if tree[2 * node] else 2 * node + 1
            return node - leaves
        node //= 2
    return -1


@numba.njit(cache=True)
def _mark(tree: Any, node: int) -> None:
    while node and not tree[node]:
        tree[node] = True
        node //= 2


@numba.njit(cache=True)
def _clear(tree: Any, node: int) -> None:
    tree[node] = False
    node //= 2
    while node and not tree[2 * node] and not tree[2 * node + 1]:
        tree[node] = False
        node //= 2
