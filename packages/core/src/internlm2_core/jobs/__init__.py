"""What the commands do: plain functions of objects, paths and numbers."""

from internlm2_core.jobs.average import average
from internlm2_core.jobs.chat import chat
from internlm2_core.jobs.convert import convert
from internlm2_core.jobs.export import export
from internlm2_core.jobs.generate import generate
from internlm2_core.jobs.train import train
from internlm2_core.jobs.verify_export import verify_export

__all__ = ["average", "chat", "convert", "export", "generate", "train", "verify_export"]
