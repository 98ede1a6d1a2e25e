"""A checkpoint that could not be written: one sentence on every rank, and nothing of it is left."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from internlm2_parallel.checkpoint.folder import draft_of


def begin(draft: Path) -> None:
    """An empty draft in the place of what a run that was killed has left."""
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)


def together(target: Path, write: Callable[[], None], group: dist.ProcessGroup | None = None) -> None:
    """Write on each rank. Where it fails on one, all know. Collective.

    Args:
        target: The checkpoint.
        write: Writes to its draft.
        group: Of all ranks, for a thread in the background.

    Raises:
        OSError: If it failed on any rank.
    """
    failure: BaseException | None = None
    try:
        write()
    except (OSError, RuntimeError) as error:  # torch wraps what writing raises
        failure = error
    reasons: list[str | None] = [None] * dist.get_world_size()
    dist.all_gather_object(reasons, None if failure is None else str(failure.__context__ or failure), group)
    if reason := next(filter(None, reasons), None):
        give_up(target, reason, failure)


def checked(target: Path, check: Callable[[], None], group: dist.ProcessGroup | None) -> None:
    """Check on each rank what is about to be written. What one rank raises, all raise. Collective.

    Args:
        target: The checkpoint. Its draft is removed where something is wrong.
        check: Raises if it is.
        group: Of all ranks, for a thread in the background.

    Raises:
        Exception: If a check has raised it.
    """
    found: list[Exception | None] = [None] * dist.get_world_size()
    mine: Exception | None = None
    try:
        check()
    except Exception as error:
        mine = error
    dist.all_gather_object(found, mine, group)
    if (first := next((each for each in found if each is not None), None)) is not None:
        shutil.rmtree(draft_of(target), ignore_errors=True)
        raise first


@contextmanager
def one_sentence(target: Path) -> Iterator[None]:
    """What torch raises on every rank where a part could not be written, as one sentence.

    Args:
        target: The checkpoint.

    Raises:
        OSError: If it could not be written.
    """
    try:
        yield
    except CheckpointException as error:
        reason, _ = next(iter(error.failures.values()))
        give_up(target, str(reason.__context__ or reason), error)


def give_up(target: Path, reason: str, cause: BaseException | None) -> NoReturn:
    """Remove the draft, and say why.

    Args:
        target: The checkpoint.
        reason: In words.
        cause: What this rank raised, if it did.

    Raises:
        OSError: If it is called.
    """
    shutil.rmtree(draft_of(target), ignore_errors=True)
    raise OSError(f"{target} was not written: {reason}. The checkpoint before it is as it was.") from cause
