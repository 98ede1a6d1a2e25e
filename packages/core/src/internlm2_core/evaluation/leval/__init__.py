"""L-Eval (arXiv 2307.11088): questions about long documents, closed by exact match, open by ROUGE or F1.

    reading.py   what of an answer counts: option letters, a number, printed output, true or false
    scoring.py   exact match with a part for incomplete options, F1 over words, ROUGE
    task.py      `LEval`: prompts, and figures by set

The rules follow the published scorer (github.com/OpenLMLab/LEval, commit cd34b05), its oddities included, so that the
same answers get the same scores. Each oddity is said where it is.
"""

from internlm2_core.evaluation.leval.task import LEval

__all__ = ["LEval"]
