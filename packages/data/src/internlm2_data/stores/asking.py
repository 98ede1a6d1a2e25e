"""Asking stores, which now and then do not answer."""

import errno
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

WAITS_S = (1.0, 4.0, 16.0)
"""Seconds between attempts at what failed in a store."""
FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, NotImplementedError, ImportError)
"""Errors that another attempt does not mend."""
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class StoreError(OSError):
    """A store did not do what it was asked, several times."""


def opened(name: str) -> tuple[Any, str]:
    """The store of a name, and the name inside of it. fsspec keeps stores, and makes them anew in a forked process."""
    from fsspec.core import url_to_fs

    store, path = url_to_fs(name)
    return store, str(path)


def opened_anew(name: str) -> tuple[Any, str]:
    """The same, with what the store remembered of its folders forgotten: other processes write there too."""
    store, path = opened(name)
    store.invalidate_cache()
    return store, path


def patiently(call: Callable[[], T], name: str) -> T:
    """What a call of a store gives. Where it fails it is tried again, after `WAITS_S`.

    Args:
        call: Asks the store.
        name: What it is asked for.

    Raises:
        StoreError: If it failed each time.
        RuntimeError: If this machine has no room for what came.
    """
    for wait_s in (*WAITS_S, None):
        try:
            return call()
        except FINAL:
            raise
        except Exception as error:  # Each store has errors of its own.
            if isinstance(error, OSError) and error.errno in _NO_ROOM:
                raise RuntimeError(f"{name} does not fit on this machine: {error}.") from error
            if wait_s is None:
                raise StoreError(f"{name} failed {len(WAITS_S) + 1} times, the last with {told(error)}") from error
            time.sleep(wait_s)
    raise AssertionError(name)


def told(error: Exception) -> str:
    """An error with its type."""
    return f"{type(error).__name__}: {error}"
