"""First-fit packing."""

from collections.abc import Iterable, Sequence

OPEN_ROWS = 64


def first_fit(items: Iterable[int], lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Put each item, in the given order, into the first row that still has room for it.

    Only the 64 youngest rows stay open, so that the time is linear and a row's items come from one stretch
    of the order.

    Args:
        items: Indices into `lengths`.
        lengths: Size of each item, at most `capacity`.
        capacity: Size of a row.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for item in items:
        size = int(lengths[item])
        first = max(0, len(rows) - OPEN_ROWS)
        row = next((r for r in range(first, len(rows)) if room[r] >= size), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(capacity)
        rows[row].append(item)
        room[row] -= size
    return rows
