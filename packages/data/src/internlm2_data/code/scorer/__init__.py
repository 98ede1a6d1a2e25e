"""A learned scorer of code, refined in rounds with people (report section 3.1.2).

    labels so far ─► model ─► trust by language ─► confident highs and lows of the corpus ─► to_label.jsonl ─┐
        ▲              └────► earlier labels that it contradicts ─────────────────────────► second_look.jsonl ─┤
        └───────────────────────────── people write high, moderate or low ◄──────────────────────────────────┘

One model serves all languages. Each label is scored by a model that has not seen it, of its repository neither: that
says in which languages the scorer agrees with people, where the classes end, and which labels deserve a second look.
Files of languages that are not trusted are moderate.
"""

from internlm2_data.code.scorer.fitting import Trust
from internlm2_data.code.scorer.rounds import code_scorer
from internlm2_data.code.scorer.rule import LearnedQuality, learned_quality
from internlm2_data.code.scorer.simulated import SimulatedLabeller

__all__ = ["LearnedQuality", "SimulatedLabeller", "Trust", "code_scorer", "learned_quality"]
