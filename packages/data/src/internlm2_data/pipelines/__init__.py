"""The pipelines of `internlm2 process`: what `pipeline=NAME` runs.

machine   text of this machine (no input)
web       documents -> Format, Clean, Dedup, Safe, High-quality
code      repositories -> one Markdown document each
long      documents over 32 KB -> those worth a long context
tokens    documents -> token files, held-out part aside
"""

from internlm2_data.pipelines.code import CodePipeline
from internlm2_data.pipelines.long import LongPipeline
from internlm2_data.pipelines.machine import MachinePipeline
from internlm2_data.pipelines.protocol import Pipeline
from internlm2_data.pipelines.tokens import TokensPipeline
from internlm2_data.pipelines.web import WebPipeline

__all__ = ["CodePipeline", "LongPipeline", "MachinePipeline", "Pipeline", "TokensPipeline", "WebPipeline"]
