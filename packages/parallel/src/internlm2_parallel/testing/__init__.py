"""Distributed tests as ordinary tests: forked CPU ranks with a deadline, a small network with the released names.

`run_ranks` runs a function on ranks, `TinyLM` is a module to train, `LAYOUTS` is the table of layouts that must train
it as one process does. Nothing here is imported by the rest of the package.
"""

from internlm2_parallel.testing.batches import TinyBatches
from internlm2_parallel.testing.ranks import RankError, run_ranks
from internlm2_parallel.testing.runs import Record, SaveAt, quiet_trainer, train, train_case
from internlm2_parallel.testing.table import LAYOUTS, Case
from internlm2_parallel.testing.tiny import TinyLlama, TinyLM, TinySize

__all__ = [
    "LAYOUTS",
    "Case",
    "RankError",
    "Record",
    "SaveAt",
    "TinyBatches",
    "TinyLM",
    "TinyLlama",
    "TinySize",
    "quiet_trainer",
    "run_ranks",
    "train",
    "train_case",
]
