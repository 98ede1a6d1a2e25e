"""``internlm2 ...`` in a process of its own that has already imported Lightning, which takes most of a short command."""

import multiprocessing
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

IMPORTED = ("internlm2_conf.__main__", "lightning.pytorch", "transformers", "internlm2_align", "internlm2_parallel")


def call(words: Sequence[str], folder: Path, environment: dict[str, str], streams: Path) -> None:
    """The command, as ``python -m internlm2_conf`` runs it. Its output goes to files of ``streams``."""
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(streams / name, os.O_WRONLY | os.O_CREAT), descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["internlm2", *words]
    # As for the installed command, which finds nothing of the current folder by itself.
    sys.path[:] = [path for path in sys.path if path]
    from internlm2_conf.__main__ import main

    main()


def internlm2(*words: str, folder: Path, timeout_s: float = 300) -> CompletedProcess[str]:
    """Run the command in a folder.

    Not for several ranks: those are started from the script of the first, and a fork has none.

    Args:
        words: what is typed after ``internlm2``.
        folder: current folder of the command.
        timeout_s: seconds after which it is killed.

    Returns:
        exit code and output, as ``subprocess.run`` gives them.

    Raises:
        TimeoutError: the command takes longer.
    """
    with tempfile.TemporaryDirectory() as name:
        process = started(*words, folder=folder, streams=(streams := Path(name)))
        process.join(timeout_s)
        if process.exitcode is None:
            process.kill()
            raise TimeoutError(f"internlm2 {' '.join(words)} takes longer than {timeout_s} s")
        output, errors = ((streams / name).read_text() for name in ("out", "err"))
    return CompletedProcess(words, process.exitcode, output, errors)


def started(*words: str, folder: Path, streams: Path) -> Any:
    """Start the command in a folder, to signal or kill it.

    Args:
        words: what is typed after ``internlm2``.
        folder: current folder of the command.
        streams: where its output goes, as ``out`` and ``err``.

    Returns:
        the process, with ``pid``, ``kill``, ``join`` and ``exitcode``.
    """
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(list(IMPORTED))
    process = server.Process(target=call, args=(words, folder, dict(os.environ), streams))
    process.start()
    return process
