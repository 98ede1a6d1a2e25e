"""What the commands do: plain functions of objects, paths and numbers."""

from internlm2_core.jobs.chat import chat
from internlm2_core.jobs.convert import convert
from internlm2_core.jobs.export import export
from internlm2_core.jobs.generate import generate
from internlm2_core.jobs.train import train

__all__ = ["chat", "convert", "export", "generate", "train"]
