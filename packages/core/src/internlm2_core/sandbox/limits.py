"""What a program may use, and what became of it."""

from dataclasses import dataclass, fields
from typing import Literal

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
class Limits:
    """What a program may use. All its processes count together, unless said otherwise.

    Attributes:
        seconds: Time by the clock, and processor time of each process. In a session, of each turn.
        memory_bytes: Address space of each process, and memory of all.
        processes: Processes and threads at once.
        output_bytes: Bytes of each of stdout and stderr. In a session, of each turn.
        files_bytes: Bytes of all files in the scratch folder. They are kept in memory.
        files: Files and folders in the scratch folder.
        open_files: Open files of each process.

    Raises:
        ValueError: If one of them is not positive.
    """

    seconds: float = 10.0
    memory_bytes: int = 1 << 30
    processes: int = 32
    output_bytes: int = 1 << 16
    files_bytes: int = 64 << 20
    files: int = 1024
    open_files: int = 128

    def __post_init__(self) -> None:
        for field in fields(self):
            if not (value := getattr(self, field.name)) > 0:
                raise ValueError(f"{field.name}={value} must be positive.")


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


class SandboxUnavailableError(RuntimeError):
    """Programs cannot be isolated here, so none is run."""
