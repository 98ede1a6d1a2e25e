"""The pipelines of `internlm2 process`: what `pipeline=NAME` runs.

web       documents -> Format, Clean, Dedup, Safe, High-quality
code      repositories -> one Markdown document each
code_conversations  their files -> conversations for fine-tuning
long      documents over 32 KB -> those worth a long context
decontamination  documents -> those without items of evaluation sets
enhancement  documents -> those that resemble queries, and a mixture
tokens    documents -> token files, held-out part aside
"""

from internlm2_data.pipelines.code import CodePipeline
from internlm2_data.pipelines.code_conversations import CodeConversationsPipeline
from internlm2_data.pipelines.decontamination import DecontaminationPipeline
from internlm2_data.pipelines.enhancement import EnhancementPipeline
from internlm2_data.pipelines.long import LongPipeline
from internlm2_data.pipelines.protocol import Pipeline
from internlm2_data.pipelines.tokens import TokensPipeline
from internlm2_data.pipelines.web import WebPipeline

__all__ = [
    "CodeConversationsPipeline",
    "CodePipeline",
    "DecontaminationPipeline",
    "EnhancementPipeline",
    "LongPipeline",
    "Pipeline",
    "TokensPipeline",
    "WebPipeline",
]
