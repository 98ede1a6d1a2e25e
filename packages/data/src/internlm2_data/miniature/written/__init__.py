"""Part of the toy: text written by rule. It is what the miniature learns on top of text that people wrote.

facts           how a fact is worded, in documents and in needle questions
hay             sentences that people wrote, to lie between facts
restated        documents whose facts come again and again: retrieval
repeats         lists said several times: copying
sums            sums and differences, for the enhancement phase
kinds           which documents there are, by the name of their source
pipeline        `internlm2 process pipeline=written`
instructions/   questions with checkable answers, for fine-tuning
"""

from internlm2_data.miniature.written.kinds import KINDS
from internlm2_data.miniature.written.pipeline import WrittenPipeline

__all__ = ["KINDS", "WrittenPipeline"]
