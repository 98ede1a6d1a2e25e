"""Batched generation: sampling, the engine protocol, the local engine."""

from internlm2_core.generation.engine import Completion, Engine, LocalEngine
from internlm2_core.generation.sampling import Sampling

__all__ = ["Completion", "Engine", "LocalEngine", "Sampling"]
