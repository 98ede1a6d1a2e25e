"""Memory of a process and all below it, from ``/proc``."""

from pathlib import Path

PAGE_BYTES = 4096


def tree_bytes(root: int) -> int:
    """Memory of a process and its descendants. What several share is counted once, where the kernel says so.

    Args:
        root: Number of the process.

    Returns:
        Bytes. Processes that end meanwhile count nothing.
    """
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        total += _bytes(pid)
        try:
            for thread in Path(f"/proc/{pid}/task").iterdir():
                waiting += [int(child) for child in (thread / "children").read_text().split()]
        except OSError:
            continue
    return total


def _bytes(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:  # ended, or it hides from us: its resident pages are always told
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
        except (OSError, IndexError):
            return 0
    return 0
