"""Sampling by vLLM with the weights of an actor in training (extra ``vllm`` of core)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from internlm2_core.checkpoint import save_llama
from internlm2_core.generation import Completion, Sampling, VLLMEngine
from internlm2_core.nn.language_model import LanguageModel


class VLLMActor:
    """vLLM, which gets the actor's weights before each sampling. To be given as ``engine``.

    Weights go through a folder in Llama's layout, best one in memory (``/dev/shm``): vLLM reads no other. What it tells
    of log-probabilities is compared with the trainer's in every iteration, as with any engine.

    Args:
        folder: For the weights. It is replaced each time.
        tokenizer: File or model folder whose tokenizer goes along.
        **options: Of ``vllm.LLM``, such as ``gpu_memory_utilization``.
    """

    def __init__(self, folder: str | Path, tokenizer: str | Path, **options: Any) -> None:
        self.folder, self.tokenizer, self.options = Path(folder), tokenizer, options
        self.engine: VLLMEngine | None = None

    def __call__(self, net: LanguageModel) -> Self:
        """The engine with the weights of a network.

        Args:
            net: Whole on this rank.
        """
        save_llama(self.folder, net.size, net.state_dict().items(), self.tokenizer)
        if self.engine is None:
            self.engine = VLLMEngine(self.folder, **self.options)
        else:
            self.engine.reload()
        return self

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Args:
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.
        """
        assert self.engine is not None, "weights come first"
        return self.engine.generate(prompts, sampling)

    def arguments(self) -> dict[str, Any]:
        """Those that a checkpoint file can hold."""
        return {"folder": str(self.folder), "tokenizer": str(self.tokenizer), **self.options}
