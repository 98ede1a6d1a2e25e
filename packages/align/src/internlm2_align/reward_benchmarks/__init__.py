"""Published benchmarks of reward models, from local files in their published layouts.

=================  =================================================================================================
`RewardBench`      pairs in four sections, weighted as published
`RewardBench2`     the best of four, and prompts with several right replies
`LLMBar`           instructions of which one output only looks better
`RMBench`          three by three styles: easy, normal, hard
`RMB`              pairs and best-of-n, helpful and harmless
`JudgeBench`       one right and one wrong answer of the same model
`PPE`              votes of people, and answers whose correctness was checked
`evaluate_reward`  all of them for one model, with and without condition prompts
=================  =================================================================================================
"""

from internlm2_align.reward_benchmarks.job import evaluate_reward
from internlm2_align.reward_benchmarks.pairs import JudgeBench, LLMBar, RewardBench
from internlm2_align.reward_benchmarks.ppe import PPE
from internlm2_align.reward_benchmarks.several import RMB, RewardBench2, RMBench

__all__ = ["PPE", "RMB", "JudgeBench", "LLMBar", "RMBench", "RewardBench", "RewardBench2", "evaluate_reward"]
