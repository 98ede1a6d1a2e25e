"""Run a function on forked CPU ranks.

Forking after the imports costs a tenth of a second where spawning costs three. Ranks look like children of torchrun, so
Lightning takes them as they are. A rank that hangs in a collective ignores SIGTERM. The deadline kills it, and the
error shows where every rank was.
"""

import faulthandler
import os
import pickle
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist


class RankError(AssertionError):
    """A rank raised, died or did not return in time. The message holds what each rank left behind."""


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_ranks(
    function: Callable[..., Any], world_size: int, *args: Any, deadline_s: float = 120.0, join: bool = True
) -> list[Any]:
    """Call ``function(*args)`` on every rank and collect what it returns.

    Args:
        function: What to run. It may be a closure, for ranks are forked.
        world_size: Number of ranks.
        args: Arguments of ``function``.
        deadline_s: Seconds until every rank is killed.
        join: Initialise the gloo process group first. Lightning does it by itself.

    Returns:
        The picklable results in order of rank.

    Raises:
        RankError: If a rank raised, died or ran past the deadline.
    """
    folder = Path(tempfile.mkdtemp(prefix="ranks-"))
    environment = {
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": folder.name,
    }
    pids = [_fork(function, args, rank, environment, folder, deadline_s, join) for rank in range(world_size)]
    try:
        _await(pids, deadline_s)
        return _results(folder, world_size, deadline_s)
    finally:
        for pid in pids:
            _kill(pid)
        shutil.rmtree(folder, ignore_errors=True)


def _fork(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    rank: int,
    environment: dict[str, str],
    folder: Path,
    deadline_s: float,
    join: bool,
) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
        torch.set_num_threads(1)
        _compile_in_this_process()
        output = (folder / f"{rank}.log").open("w")
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        faulthandler.dump_traceback_later(max(1.0, deadline_s - 1.0), file=output)
        if join:
            dist.init_process_group("gloo")
        result = function(*args)
        (folder / f"{rank}.tmp").write_bytes(pickle.dumps(result))
        (folder / f"{rank}.tmp").rename(folder / f"{rank}.result")
        code = 0
    except BaseException:
        (folder / f"{rank}.error").write_text(traceback.format_exc())
    finally:
        os._exit(code)
    return 0


def _compile_in_this_process() -> None:
    """A parent that has compiled keeps a pool of compilers. Its threads are not forked: a rank would wait for ever."""
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    if (config := sys.modules.get("torch._inductor.config")) is not None:
        config.compile_threads = 1  # type: ignore[attr-defined]


def _await(pids: list[int], deadline_s: float) -> None:
    """Until all ranks ended, one failed (the others get a second to say why they did), or time is up."""
    end = time.monotonic() + deadline_s
    waiting = set(pids)
    while waiting and time.monotonic() < end:
        for pid in list(waiting):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                waiting.discard(pid)
                if status:
                    end = min(end, time.monotonic() + 1.0)
        time.sleep(0.01)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def _results(folder: Path, world_size: int, deadline_s: float) -> list[Any]:
    files = [folder / f"{rank}.result" for rank in range(world_size)]
    if all(file.exists() for file in files):
        return [pickle.loads(file.read_bytes()) for file in files]
    report = [f"not every rank returned within {deadline_s:g} s"]
    for rank, file in enumerate(files):
        error, log = folder / f"{rank}.error", folder / f"{rank}.log"
        left = error.read_text() if error.exists() else "" if file.exists() else "no answer\n" + log.read_text()[-3000:]
        report.append(f"rank {rank}: {left or 'returned'}")
    raise RankError("\n".join(report))
