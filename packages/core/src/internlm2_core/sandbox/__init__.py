"""Runs programs that are not trusted, such as code that a model wrote."""

from internlm2_core.sandbox.container import ContainerSandbox
from internlm2_core.sandbox.limits import Limits
from internlm2_core.sandbox.outcome import Outcome, SandboxUnavailableError, Status
from internlm2_core.sandbox.process import ProcessSandbox
from internlm2_core.sandbox.running import run_program
from internlm2_core.sandbox.session import Session
from internlm2_core.sandbox.starting import Isolation, Sandbox

__all__ = [
    "ContainerSandbox",
    "Isolation",
    "Limits",
    "Outcome",
    "ProcessSandbox",
    "Sandbox",
    "SandboxUnavailableError",
    "Session",
    "Status",
    "run_program",
]
