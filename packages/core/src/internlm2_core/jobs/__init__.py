"""What the commands do: plain functions of objects, paths and numbers."""

from internlm2_core.jobs.chat import chat
from internlm2_core.jobs.convert import convert
from internlm2_core.jobs.fit import fit
from internlm2_core.jobs.generate import generate

__all__ = ["chat", "convert", "fit", "generate"]
