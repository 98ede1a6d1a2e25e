"""Runs programs in namespaces of the kernel, without anything to install."""

import base64
import contextlib
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

from internlm2_core.sandbox.limits import Limits, Outcome, SandboxUnavailableError, Status
from internlm2_core.sandbox.memory import tree_bytes
from internlm2_core.sandbox.seccomp import seccomp_filter
from internlm2_core.sandbox.watching import Reason, Watched

WARDEN = Path(__file__).with_name("warden.py")
SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/alternatives",
)
NOBODY = 1_900_000_000
"""User of the programs where we are root. Nobody has this number, and it owns nothing."""
START_S = 20.0
"""The longest that building a sandbox may take on a busy machine. It does not count as the program's time."""
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin", "HOME": "/scratch", "TMPDIR": "/scratch", "LANG": "C.UTF-8", "PYTHONHASHSEED": "0",
    "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2",
    "MPLBACKEND": "Agg", "PYTHONPATH": "/packages",
}  # fmt: skip


@dataclass(frozen=True)
class ProcessSandbox:
    """Programs in a process with namespaces of its own: no network, no other processes, no files but Python's.

    Attributes:
        packages: Folder of packages that programs may import (a ``site-packages``). They can read all of it.
        python: The interpreter. None takes the one that runs this, without its virtual environment.
    """

    packages: str | None = None
    python: str | None = None

    def run(
        self, source: str, *, stdin: str = "", limits: Limits | None = None, files: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run a Python program. See `run_program`.

        Args:
            source: The program.
            stdin: What it reads.
            limits: What it may use.
            files: Texts by name in its folder.
        """
        limits = limits or Limits()
        with Confined(self, checked_files(source, files or {}, limits), limits) as confined:
            start = time.perf_counter()
            confined.watched.send(stdin.encode(), last=True)
            reason = confined.watched.until(start + limits.seconds)
            return confined.outcome(reason, time.perf_counter() - start)


class Confined:
    """A started program. Leaving its context ends it with all that it started.

    Args:
        sandbox: Where it runs.
        files: Texts by name. ``main.py`` is run.
        limits: What it may use.

    Raises:
        SandboxUnavailableError: If it cannot be isolated here.
    """

    def __init__(self, sandbox: ProcessSandbox, files: Mapping[str, str], limits: Limits) -> None:
        self.limits = limits
        python = sandbox.python or os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
        status_read, status = os.pipe()
        lifeline_read, self._lifeline = os.pipe()
        try:
            self._process = Popen(
                [python, "-I", "-S", "-B", str(WARDEN), str(status), str(lifeline_read)],
                stdin=PIPE, stdout=PIPE, stderr=PIPE, pass_fds=(status, lifeline_read), env={}, cwd="/",
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(status)
            os.close(lifeline_read)
        self._status = os.fdopen(status_read, "rb")
        self.watched = Watched(self._process, limits.output_bytes, limits.memory_bytes, self._memory)
        try:
            self._send(plan(sandbox, python, files, limits))
            self.layers = self._said("layers")
            self._init = self._said("init")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Confined":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program and everything that it started."""
        with contextlib.suppress(OSError):
            os.close(self._lifeline)
        self._lifeline = -1
        try:
            self._process.wait(START_S)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.watched.close()
        self._status.close()

    def outcome(self, reason: Reason, seconds: float) -> Outcome:
        """What became of the program, which is ended.

        Args:
            reason: Why it is no longer watched.
            seconds: How long it was.
        """
        streams = {name: bytes(data) for name, data in self.watched.received.items()}
        code = None
        if reason == "ended":
            said = [json.loads(line) for line in self._status.read().splitlines()]
            for message in said:
                if "refused" in message:
                    raise SandboxUnavailableError(_refusal(message["refused"]))
                code = message.get("exit", code)
        return outcome_of(reason, code, streams, self.limits, seconds)

    def _memory(self) -> int:
        return tree_bytes(self._init)

    def _send(self, plan: Mapping[str, Any]) -> None:
        data = json.dumps(plan).encode()
        message = memoryview(len(data).to_bytes(8, "big") + data)
        try:
            while message:
                message = message[os.write(self._lifeline, message) :]
        except BrokenPipeError:
            raise SandboxUnavailableError(_refusal(self._failure())) from None

    def _said(self, key: str) -> Any:
        line = self._status.readline()
        message = json.loads(line) if line else {"refused": self._failure()}
        if "refused" in message:
            raise SandboxUnavailableError(_refusal(message["refused"]))
        return message[key]

    def _failure(self) -> str:
        assert self._process.stderr
        self._process.wait(START_S)
        return (self._process.stderr.read() or b"").decode(errors="replace").strip()[-400:]


def _refusal(why: str) -> str:
    return f"Programs cannot be isolated here, so none is run ({why}). A container can run them."


def outcome_of(
    reason: Reason, code: int | None, streams: Mapping[str, bytes], limits: Limits, seconds: float
) -> Outcome:
    """What became of a program.

    Args:
        reason: Why it is no longer watched.
        code: Its exit code, minus a signal, or None.
        streams: What was received of ``stdout`` and ``stderr``.
        limits: What it might use.
        seconds: How long it ran.
    """
    texts = {name: shown(data, limits.output_bytes) for name, data in streams.items()}
    status: Status
    if reason != "ended":
        status, code = ("timeout" if reason == "timeout" else "memory" if reason == "memory" else "output"), None
    elif code is None or code < 0:
        status = "timeout" if code == -24 else "killed"  # SIGXCPU: its processor time
    elif code == 0:
        status = "ok"
    else:
        last = streams["stderr"].rstrip().rpartition(b"\n")[2]
        status = "memory" if last.startswith(b"MemoryError") else "error"
    return Outcome(status, texts["stdout"], texts["stderr"], seconds, code)


def shown(data: bytes, most: int) -> str:
    """Output as text, cut at the limit.

    Args:
        data: What was received.
        most: Bytes that are kept.
    """
    if len(data) <= most:
        return data.decode(errors="replace")
    return data[:most].decode(errors="replace") + f"\n[cut after {most} bytes]\n"


def checked_files(source: str, files: Mapping[str, str], limits: Limits) -> dict[str, str]:
    """The program as ``main.py`` among its files.

    Args:
        source: The program.
        files: Texts by name.
        limits: What they must fit in.

    Raises:
        ValueError: If a name leads out of the folder, or the files are too many or too large.
    """
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or name in ("", ".", "main.py"):
            raise ValueError(f"files={name!r} must be a name inside the program's folder, and not main.py.")
    every = {**files, "main.py": source}
    size = sum(len(text.encode("utf-8", "surrogatepass")) // 4096 * 4096 + 4096 for text in every.values())
    entries = {str(parent) for name in every for parent in [PurePosixPath(name), *PurePosixPath(name).parents]}
    if size > limits.files_bytes or len(entries) > limits.files:
        raise ValueError(
            f"files of {size} bytes in {len(entries)} entries must fit in files_bytes={limits.files_bytes} and "
            f"files={limits.files}."
        )
    return every


def plan(sandbox: ProcessSandbox, python: str, files: Mapping[str, str], limits: Limits) -> dict[str, Any]:
    """What the warden is told.

    Args:
        sandbox: What programs may read.
        python: The interpreter.
        files: Texts by name in the scratch folder.
        limits: What they may use.
    """
    readable, links = system_files(python)
    if sandbox.packages is not None:
        readable.append((os.path.realpath(sandbox.packages), "/packages"))
    return {
        "uid": NOBODY,
        "caller": [os.geteuid(), os.getegid()],
        "readable": readable,
        "links": [*links, ("/tmp", "scratch"), ("/dev/shm", "/scratch")],
        "etc": {
            "/etc/passwd": f"sandbox:x:{NOBODY}:{NOBODY}::/scratch:/bin/false\n",
            "/etc/group": f"sandbox:x:{NOBODY}:\n",
        },
        "files": dict(files),
        "limits": asdict(limits),
        "rlimits": rlimits(limits),
        "filter": base64.b64encode(seccomp_filter()).decode(),
        "command": [python, "-s", "main.py"],
        "environment": ENVIRONMENT,
    }


def system_files(python: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What an interpreter needs of this machine.

    Args:
        python: The interpreter.

    Returns:
        Folders and files as (where they are, where they appear), and links as (path, target).
    """
    readable = [(path, path) for path in SYSTEM if Path(path).exists() and not Path(path).is_symlink()]
    links = [(path, str(Path(path).readlink())) for path in SYSTEM if Path(path).is_symlink()]
    prefix = Path(python).parent.parent
    if not prefix.is_relative_to("/usr"):
        readable += [(str(prefix / name), str(prefix / name)) for name in ("bin", "lib") if (prefix / name).is_dir()]
    return readable, links


def rlimits(limits: Limits) -> dict[str, int]:
    """Limits of each process, by their names in `resource`."""
    return {
        "RLIMIT_AS": limits.memory_bytes,
        "RLIMIT_CPU": math.ceil(limits.seconds) + 1,
        "RLIMIT_NPROC": limits.processes,
        "RLIMIT_NOFILE": limits.open_files,
        "RLIMIT_FSIZE": limits.files_bytes,
        "RLIMIT_STACK": 8 << 20,
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
