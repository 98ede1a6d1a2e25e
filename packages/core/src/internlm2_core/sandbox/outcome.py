"""What became of a program."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.watching import Reason

Status = Literal["ok", "error", "timeout", "memory", "output", "killed"]
"""How a program ended.

- ``ok``: it left with code 0.
- ``error``: it left with another code, as after an exception.
- ``timeout``: it ran longer than ``seconds``.
- ``memory``: its processes used more than ``memory_bytes``, or Python could not have more.
- ``output``: it wrote more than ``output_bytes`` to one stream.
- ``killed``: a signal ended it, or it took its sandbox down.
"""


@dataclass(frozen=True)
class Outcome:
    """What a program did.

    Attributes:
        status: How it ended.
        stdout: What it printed. Bytes that are not UTF-8 are replaced. If it was cut, the last line says so.
        stderr: The same of its errors.
        seconds: Time by the clock, from the start of the sandbox.
        exit_code: Its exit code, or minus the signal that ended it. None if it was ended by a limit.
    """

    status: Status
    stdout: str
    stderr: str
    seconds: float
    exit_code: int | None


class SandboxUnavailableError(OSError):
    """Programs cannot be isolated here, so none is run."""


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
