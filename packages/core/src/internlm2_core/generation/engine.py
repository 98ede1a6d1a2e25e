"""Engines answer prompts. The protocol is all that evaluation, chat and RLHF know of them.

`LocalEngine` runs the network of this process, `VLLMEngine` asks vLLM. One of your own needs a single method, see
``docs/add-an-engine.md``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from internlm2_core.generation.sampling import Sampling


@dataclass(frozen=True)
class Completion:
    """What followed a prompt.

    Attributes:
        ids: New token ids, the stop token or string included.
        logprobs: Log-probability of each under the model, in nats, before temperature and truncation.
            Empty where they are not wanted (``Sampling.logprobs``), or the engine does not know them.
        finish: ``stop`` after a stop token or string, ``length`` at the limit.
    """

    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Literal["stop", "length"] = "length"


class Engine(Protocol):
    """Answers batches of prompts."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Args:
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.
        """


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that tells each token as soon as it is known. `chat` shows it at once."""

    def stream(self, prompt: Sequence[int], sampling: Sampling, on_token: Callable[[int], None]) -> Completion:
        """Answer one prompt.

        Args:
            prompt: Token ids, at least one.
            sampling: How to choose tokens and when to stop.
            on_token: Called with each new token id.
        """


def check_prompts(prompts: Sequence[Sequence[int]]) -> None:
    """Raise ValueError where a prompt is empty."""
    for index, prompt in enumerate(prompts):
        if not len(prompt):
            raise ValueError(f"Prompt {index} is empty. It must have one token or more.")


def of_like_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices in batches of neighbours in length.

    Args:
        lengths: Tokens of each document, or of each prompt with its answer.
        batch_tokens: The most tokens of a batch with its padding. A longer document is a batch of its own.
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > batch_tokens:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
