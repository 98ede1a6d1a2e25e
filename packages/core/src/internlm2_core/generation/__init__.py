"""Batched generation: sampling, the engine protocol, the local engine and vLLM's."""

from internlm2_core.generation.engine import Completion, Engine, LocalEngine, engine_of
from internlm2_core.generation.sampling import Sampling
from internlm2_core.generation.vllm import VLLMEngine

__all__ = ["Completion", "Engine", "LocalEngine", "Sampling", "VLLMEngine", "engine_of"]
