"""Evaluation of a language model: a suite of tasks, each with figures and the answers behind them.

    suite (tasks by name) ──┐
    model folder ── Subject ┴─► evaluate ─► metrics.json            laid out as schema.json says
                                        ├─► samples/TASK.jsonl      every question, answer and verdict
                                        └─► answers.sqlite          answers as they come

===============  ==================================================================================
`HeldOutLoss`    nats per token and bits per byte of held-out text, per source
`Needle`         one fact hidden in held-out text, over depth and length, per language
`Retrieval`      riddles in held-out text: facts, facts in other words, chains, counting. Effective length
`Instructions`   greedy answers in ChatML, checked by rule, per task and language
`LEval`          questions about long documents, closed ones by exact match and open ones by ROUGE or F1
`Interpreter`    problems solved with programs that run in a sandbox (`internlm2_core.evaluation.interpreter`)
`Transcripts`    the next step in the use of tools, against references (`internlm2_core.evaluation.tools`)
`Contamination`  loss on train, test and a look-alike set, and their differences delta1 and delta2
===============  ==================================================================================

A task asks a `Subject` for losses and likelihoods of given tokens, and for answers through an `Engine`. It has a
version, which is raised whenever the same model would get other figures. Answers are kept as they come, so that an
evaluation that was stopped resumes. Exams of lm-eval are tasks too: `internlm2_core.evaluation.harness.HarnessTask`.
"""

from internlm2_core.evaluation.contamination import Contamination
from internlm2_core.evaluation.continuation import ContinuationLoss
from internlm2_core.evaluation.haystack import Haystack
from internlm2_core.evaluation.held_out import HeldOutLoss
from internlm2_core.evaluation.instructions import Instructions
from internlm2_core.evaluation.job import evaluate
from internlm2_core.evaluation.leval import LEval
from internlm2_core.evaluation.needle import Needle
from internlm2_core.evaluation.retrieval import Retrieval
from internlm2_core.evaluation.riddles import Chains, Count, Facts, Unlike
from internlm2_core.evaluation.subject import LossSum, Scored, Subject
from internlm2_core.evaluation.task import Result, Task

__all__ = [
    "Chains",
    "Contamination",
    "ContinuationLoss",
    "Count",
    "Facts",
    "Haystack",
    "HeldOutLoss",
    "Instructions",
    "LEval",
    "LossSum",
    "Needle",
    "Result",
    "Retrieval",
    "Scored",
    "Subject",
    "Task",
    "Unlike",
    "evaluate",
]
