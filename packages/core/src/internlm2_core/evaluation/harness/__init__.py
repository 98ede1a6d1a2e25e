"""Tasks of lm-eval (EleutherAI's evaluation harness) by their names, with our model behind them.

    HarnessTask ─ name, shots, data ─► lm-eval's tasks ── prompts ─► HarnessModel ─► Subject
                                           ▲        ◄── answers ─┘
               LocalData, sandbox ─────────┘

It needs ``pip install "internlm2-core[exams]"``. lm-eval is imported when the first task runs.
"""

from internlm2_core.evaluation.harness.task import HarnessTask

__all__ = ["HarnessTask"]
