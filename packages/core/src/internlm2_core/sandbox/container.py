"""Runs programs in a container of podman or docker, for machines whose kernel gives ordinary users no namespaces."""

import contextlib
import json
import math
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from subprocess import DEVNULL, PIPE, Popen

from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.outcome import Outcome, SandboxUnavailableError, outcome_of
from internlm2_core.sandbox.plan import ENVIRONMENT, rlimits
from internlm2_core.sandbox.starting import Isolation
from internlm2_core.sandbox.watching import Reason, Watched

FIRST = """
import json, os
from pathlib import Path

def exactly(count):
    data = b""
    while len(data) < count:
        data += os.read(0, count - len(data))
    return data

for name, text in json.loads(exactly(int.from_bytes(exactly(8), "big"))).items():
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(text.encode("utf-8", "replace"))
os.execvp("python", ["python", "-s", "main.py"])
"""
"""Reads the files from stdin and becomes the program, which reads the rest."""
STARTS_S = 30.0
"""How long a container may take to start. The program's time includes it."""
FAILED = 125
"""Exit code of the command itself."""
OUT_OF_MEMORY = 137


@dataclass(frozen=True)
class ContainerSandbox:
    """Programs in a container without network.

    Attributes:
        command: ``podman`` or ``docker``, or the path of one.
        image: An image with ``python`` that is there already. Nothing is pulled.
        packages: Folder of packages that programs may import.
    """

    command: str = "podman"
    image: str = "python:3.11-slim"
    packages: str | None = None

    def start(self, files: Mapping[str, str], limits: Limits) -> "Contained":
        """Start ``main.py`` among its files.

        Args:
            files: Texts by name.
            limits: What it may use.

        Raises:
            SandboxUnavailableError: If the command is missing.
        """
        if shutil.which(self.command) is None:
            raise SandboxUnavailableError(f"command={self.command} is not installed, so no program is run.")
        name = f"internlm2-{secrets.token_hex(8)}"
        started = Contained(self.command, name, [self.command, *self.words(name, limits)], limits)
        data = json.dumps(dict(files)).encode()
        started.watched.send(len(data).to_bytes(8, "big") + data)
        return started

    def isolation(self) -> Isolation:
        """What separates programs from this machine, by starting an empty one.

        Raises:
            SandboxUnavailableError: If no container starts.
        """
        started = self.start({"main.py": ""}, Limits(seconds=STARTS_S))
        try:
            started.watched.send(b"", last=True)
            started.outcome(started.watched.until(math.inf), 0.0)
        finally:
            started.close()
        return Isolation((f"a container of {self.image} by {self.command}",), ("what its configuration shares",))

    def words(self, name: str, limits: Limits) -> list[str]:
        """What the command is told.

        Args:
            name: Name of the container.
            limits: What the program may use.
        """
        size = f"size={limits.files_bytes},nr_inodes={limits.files + 1},mode=1777"
        memory = limits.memory_bytes + limits.files_bytes  # files are memory, and memory they count as
        ulimits = {
            "core": 0, "cpu": rlimits(limits)["RLIMIT_CPU"], "fsize": limits.files_bytes, "nofile": limits.open_files
        }  # fmt: skip
        environment = {key: value for key, value in ENVIRONMENT.items() if key != "PATH"}
        return [
            "run", "--rm", "--interactive", f"--name={name}", "--pull=never", "--network=none", "--read-only",
            f"--tmpfs=/scratch:{size}", "--workdir=/scratch", "--user=65534:65534", "--cap-drop=ALL",
            "--security-opt=no-new-privileges", "--ipc=private", f"--memory={memory}b", f"--memory-swap={memory}b",
            f"--pids-limit={limits.processes + 1}", "--init", "--log-driver=none",
            *(f"--ulimit={key}={value}:{value}" for key, value in ulimits.items()),
            *(f"--env={key}={value}" for key, value in environment.items()),
            *([f"--volume={self.packages}:/packages:ro"] if self.packages is not None else []),
            self.image, "python", "-I", "-c", FIRST,
        ]  # fmt: skip


class Contained:
    """A program in its container.

    Args:
        command: The container command.
        name: Name of the container.
        words: The whole command line.
        limits: What the program may use.
    """

    def __init__(self, command: str, name: str, words: list[str], limits: Limits) -> None:
        self.command, self.name, self.limits = command, name, limits
        self._process = Popen(words, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True)
        self.watched = Watched(self._process, limits.output_bytes, limits.memory_bytes)

    def outcome(self, reason: Reason, seconds: float) -> Outcome:
        """What became of the program.

        Args:
            reason: Why it is no longer watched.
            seconds: How long it was.

        Raises:
            SandboxUnavailableError: If the container did not start.
        """
        streams = {name: bytes(data) for name, data in self.watched.received.items()}
        code = self._process.wait() if reason == "ended" else None
        if code == FAILED:
            why = streams["stderr"].decode(errors="replace").strip()[-400:]
            raise SandboxUnavailableError(f"{self.command} runs no container, so no program is run ({why}).")
        if code == OUT_OF_MEMORY:  # SIGKILL, by the limit of the container: nobody else sends it
            reason = "memory"
        elif code is not None and code > 128:
            code = 128 - code
        return outcome_of(reason, code, streams, self.limits, seconds)

    def close(self) -> None:
        """Remove the container and end its command."""
        if self._process.poll() is None:
            # Killed, it removes itself. One that has not started yet can only be removed.
            for words in (["kill", "--signal=KILL"], ["rm", "--force"]):
                with contextlib.suppress(subprocess.TimeoutExpired, OSError):
                    line = [self.command, *words, self.name]
                    subprocess.run(line, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL, timeout=STARTS_S)
            self._process.kill()
            self._process.wait()
        self.watched.close()
