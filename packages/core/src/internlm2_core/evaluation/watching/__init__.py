"""Evaluation while a run trains: another process, or a job of Slurm, evaluates its checkpoints (report section 2.1).

    RUN/checkpoints/step-N.ckpt ─► held ─► model folder ─► evaluate ─┬─► RUN/evaluations/LABEL/step-N/metrics.json
       written by training                                           ├─► RUN/evaluations.jsonl
                                                                     └─► RUN/logs/evaluations-LABEL (TensorBoard)

The training is not slowed: nothing waits for anything, and files alone are looked at.

============  =========================================================================================
`found`       which checkpoints a run has, whether it has finished, and holding one while it is read
`record`      what was evaluated, appended to the run, once for each step
`board`       the same for TensorBoard
`watcher`     `watch`, the job
`best`        `best`, which picks a checkpoint by any figure
============  =========================================================================================
"""

from internlm2_core.evaluation.watching.best import best
from internlm2_core.evaluation.watching.watcher import watch

__all__ = ["best", "watch"]
