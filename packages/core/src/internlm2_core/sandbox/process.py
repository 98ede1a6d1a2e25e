"""Runs programs in namespaces of the kernel, without anything to install."""

import contextlib
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE, Popen, TimeoutExpired
from typing import Any

from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.memory import tree_bytes
from internlm2_core.sandbox.outcome import Outcome, SandboxUnavailableError, outcome_of
from internlm2_core.sandbox.plan import plan
from internlm2_core.sandbox.starting import Isolation
from internlm2_core.sandbox.watching import Reason, Watched

WARDEN = Path(__file__).with_name("warden.py")
ENDS_S = 60.0
"""The longest that taking a sandbox down may take on a busy machine."""
GAPS = (
    "memory of several processes together (looked at 20 times a second, each one is limited by the kernel)",
    "processor time and cache of the machine",
    "faults of the kernel",
)
"""What stays shared with the machine, whatever the kernel gives."""


@dataclass(frozen=True)
class ProcessSandbox:
    """Programs in a process with namespaces of its own: no network, no other processes, no files but Python's.

    Attributes:
        packages: Folder of packages that programs may import (a ``site-packages``). They can read all of it.
        python: The interpreter. None takes the one that runs this, without its virtual environment.
    """

    packages: str | None = None
    python: str | None = None

    def start(self, files: Mapping[str, str], limits: Limits) -> "Confined":
        """Start ``main.py`` among its files.

        Args:
            files: Texts by name.
            limits: What it may use.

        Raises:
            SandboxUnavailableError: If it cannot be isolated here.
        """
        python = self.python or os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable)
        return Confined(python, plan(self.packages, python, files, limits), limits)

    def isolation(self) -> Isolation:
        """What separates programs from this machine, by starting an empty one.

        Raises:
            SandboxUnavailableError: If they cannot be isolated here.
        """
        started = self.start({"main.py": ""}, Limits())
        started.close()
        return Isolation(tuple(started.layers), GAPS)


class Confined:
    """A started program.

    Args:
        python: The interpreter of the warden.
        plan: What the warden is told.
        limits: What the program may use.

    Raises:
        SandboxUnavailableError: If it cannot be isolated here.
    """

    def __init__(self, python: str, plan: Mapping[str, Any], limits: Limits) -> None:
        self.limits = limits
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
            self._send(plan)
            self.layers = self._said("layers")
            self._init = self._said("init")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the program and everything that it started."""
        if self._lifeline >= 0:
            # A byte, because another thread may have forked a process that holds this end too.
            with contextlib.suppress(OSError):
                os.write(self._lifeline, b".")
            os.close(self._lifeline)
            self._lifeline = -1
        try:
            self._process.wait(ENDS_S)
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
            os.set_blocking(self._status.fileno(), False)
            said = [json.loads(line) for line in (self._status.read() or b"").splitlines()]
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
        self._process.wait(ENDS_S)
        return (self._process.stderr.read() or b"").decode(errors="replace").strip()[-400:]


def _refusal(why: str) -> str:
    return f"Programs cannot be isolated here, so none is run ({why}). A container can run them."
