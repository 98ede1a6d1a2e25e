"""Chat that a judge model decides, through any OpenAI-compatible endpoint.

==================  ================================================================================
`MTBench`           two turns, each rated from 1 to 10, in English and Chinese
`MTBenchPairs`      the same against another model's answers, in both orders
`AlpacaEval`        against a baseline's answers, with the length-controlled win rate
`AlignBench`        Chinese, rated in several dimensions against a reference
`Judge`             who is asked: an estimate and limits first, every answer kept as it comes
==================  ================================================================================
"""

from internlm2_align.judged.align_bench import AlignBench
from internlm2_align.judged.alpaca_eval import AlpacaEval
from internlm2_align.judged.job import answers_from, evaluate_judged
from internlm2_align.judged.judge import Judge
from internlm2_align.judged.mt_bench import MTBench, MTBenchPairs

__all__ = ["AlignBench", "AlpacaEval", "Judge", "MTBench", "MTBenchPairs", "answers_from", "evaluate_judged"]
