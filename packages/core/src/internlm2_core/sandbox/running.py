"""One program in a sandbox, from its start to its end."""

import time
from collections.abc import Mapping

from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.outcome import Outcome
from internlm2_core.sandbox.process import ProcessSandbox
from internlm2_core.sandbox.starting import Sandbox, checked_files


def run_program(
    source: str,
    *,
    stdin: str = "",
    limits: Limits | None = None,
    files: Mapping[str, str] | None = None,
    sandbox: Sandbox | None = None,
) -> Outcome:
    """Run a Python program that is not trusted.

    Args:
        source: The program.
        stdin: What it reads.
        limits: What it may use. None takes the defaults of `Limits`.
        files: Texts by name in its folder. It can read and write them, and nobody sees them afterwards.
        sandbox: Where it runs. None means a `ProcessSandbox`.

    Returns:
        What it did. Its own faults are outcomes, never exceptions.

    Raises:
        SandboxUnavailableError: If programs cannot be isolated here. None is run then.
        ValueError: If the files cannot be laid out.
    """
    limits, sandbox = limits or Limits(), sandbox or ProcessSandbox()
    started = sandbox.start(checked_files(source, files or {}, limits), limits)
    try:
        start = time.perf_counter()
        started.watched.send(stdin.encode("utf-8", "replace"), last=True)
        reason = started.watched.until(start + limits.seconds)
        return started.outcome(reason, time.perf_counter() - start)
    finally:
        started.close()
