"""Distributed tests as ordinary tests: forked CPU ranks with a deadline, and a small network with the released names."""

from internlm2_parallel.testing.ranks import RankFailure, run_ranks
from internlm2_parallel.testing.tiny import TinyBatches, TinyLlama, TinyLM, TinySize

__all__ = ["RankFailure", "TinyBatches", "TinyLM", "TinyLlama", "TinySize", "run_ranks"]
