"""Batched generation: sampling, the engine protocol, the local engine and vLLM's."""

from internlm2_core.generation.engine import Completion, Engine, StreamingEngine
from internlm2_core.generation.local import LocalEngine, engine_of
from internlm2_core.generation.sampling import Sampling
from internlm2_core.generation.vllm import VLLMEngine

__all__ = ["Completion", "Engine", "LocalEngine", "Sampling", "StreamingEngine", "VLLMEngine", "engine_of"]
