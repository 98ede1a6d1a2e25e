"""Runs programs that are not trusted."""

from collections.abc import Mapping

from internlm2_core.sandbox.limits import Limits, Outcome, SandboxUnavailableError, Status
from internlm2_core.sandbox.process import ProcessSandbox

__all__ = ["Limits", "Outcome", "ProcessSandbox", "SandboxUnavailableError", "Status", "run_program"]


def run_program(
    source: str, *, stdin: str = "", limits: Limits | None = None, files: Mapping[str, str] | None = None
) -> Outcome:
    """Run a Python program that is not trusted, in a `ProcessSandbox`.

    Args:
        source: The program.
        stdin: What it reads.
        limits: What it may use. None takes the defaults of `Limits`.
        files: Texts by name in its folder. It can read and write them, and nobody sees them afterwards.

    Returns:
        What it did. Its own faults are outcomes, never exceptions.

    Raises:
        SandboxUnavailableError: If programs cannot be isolated here. None is run then.
        ValueError: If the files cannot be laid out.
    """
    return ProcessSandbox().run(source, stdin=stdin, limits=limits, files=files)
