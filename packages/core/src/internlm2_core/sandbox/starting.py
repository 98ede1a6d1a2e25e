"""What a sandbox is: it starts programs that are not trusted, and ends them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.outcome import Outcome
from internlm2_core.sandbox.watching import Reason, Watched


class Started(Protocol):
    """A program that runs.

    Attributes:
        watched: Its streams.
    """

    watched: Watched

    def outcome(self, reason: Reason, seconds: float) -> Outcome:
        """What became of it.

        Args:
            reason: Why it is no longer watched.
            seconds: How long it was.
        """

    def close(self) -> None:
        """End it with all that it started. What it wrote is gone."""


@dataclass(frozen=True)
class Isolation:
    """What separates programs from this machine.

    Attributes:
        layers: What does.
        gaps: What does not.
    """

    layers: tuple[str, ...]
    gaps: tuple[str, ...]

    def __str__(self) -> str:
        return f"Programs run in: {', '.join(self.layers)}. Not isolated: {', '.join(self.gaps)}."


class Sandbox(Protocol):
    """Where programs run."""

    def start(self, files: Mapping[str, str], limits: Limits) -> Started:
        """Start ``main.py``.

        Args:
            files: Texts by name in its folder.
            limits: What it may use. Whoever watches it ends it after ``limits.seconds``.

        Raises:
            SandboxUnavailableError: If it cannot be isolated here.
        """

    def isolation(self) -> Isolation:
        """What separates programs from this machine.

        Raises:
            SandboxUnavailableError: If nothing does.
        """


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
    size = sum(len(text.encode("utf-8", "replace")) // 4096 * 4096 + 4096 for text in every.values())
    entries = {str(parent) for name in every for parent in [PurePosixPath(name), *PurePosixPath(name).parents]}
    if size > limits.files_bytes or len(entries) > limits.files:
        raise ValueError(
            f"files of {size} bytes in {len(entries)} entries must fit in files_bytes={limits.files_bytes} and "
            f"files={limits.files}."
        )
    return every
