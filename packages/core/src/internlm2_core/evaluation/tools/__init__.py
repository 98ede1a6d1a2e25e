"""Use of tools, step by step, against reference transcripts."""

from internlm2_core.evaluation.tools.task import Transcripts

__all__ = ["Transcripts"]
