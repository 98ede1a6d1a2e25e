"""Tasks of lm-eval (EleutherAI's evaluation harness) by their names, with our model behind them.

    HarnessTask ─ names, shots, data ─► lm-eval's tasks ─ prompts ─► HarnessModel ─► Subject
                                                        ◄─ answers ─┘

It needs ``pip install "internlm2-core[exams]"``. lm-eval itself is imported when the first task runs.
"""
