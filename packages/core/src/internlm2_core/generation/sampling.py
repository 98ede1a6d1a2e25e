"""From logits to the next token: repetition penalty, temperature, top-k, top-p.

Legend: B rows, V vocabulary.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens and when to stop.

    Args:
        max_new_tokens: tokens at most.
        temperature: divides the logits; 0 is greedy.
        top_p: smallest set of tokens whose probability reaches this; 1 keeps all.
        top_k: most probable tokens kept; 0 keeps all.
        repetition_penalty: divides positive and multiplies negative logits of tokens already seen (CTRL,
            arXiv 1909.05858); 1 changes nothing.
        stop_ids: tokens that end a sequence; they are part of it.
        stop: strings that end a sequence as soon as its text holds one; the string is part of it.
        seed: of the sampling; None draws from torch's global generator.

    Raises:
        ValueError: a value outside its range.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        limits = {
            "max_new_tokens": (self.max_new_tokens >= 1, "1 or more"),
            "temperature": (self.temperature >= 0, "0 (greedy) or more"),
            "top_p": (0 < self.top_p <= 1, "above 0 and at most 1"),
            "top_k": (self.top_k >= 0, "0 (all) or more"),
            "repetition_penalty": (self.repetition_penalty > 0, "above 0"),
            "stop": (all(self.stop), "strings that are not empty"),
        }
        for name, (is_fine, limit) in limits.items():
            if not is_fine:
                raise ValueError(f"{name}={getattr(self, name)} must be {limit}; set {name} so.")

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0


def penalise_repeats(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Make tokens that were seen less likely.

    Args:
        logits_BV: [B, V].
        seen_BV: [B, V] bool.
        penalty: above 1 discourages.
    """
    penalised = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, penalised, logits_BV)


def keep_top_k(logits_BV: Tensor, top_k: int) -> Tensor:
    """All but the ``top_k`` largest logits become -inf."""
    smallest_kept = logits_BV.topk(min(top_k, logits_BV.shape[-1])).values[:, -1:]
    return logits_BV.masked_fill(logits_BV < smallest_kept, float("-inf"))


def keep_top_p(logits_BV: Tensor, top_p: float) -> Tensor:
    """Keep the fewest tokens whose probabilities reach ``top_p`` (arXiv 1904.09751); at least one stays."""
    sorted_BV, order_BV = logits_BV.sort(descending=True)
    probs_BV = sorted_BV.softmax(-1)
    # A token goes when those before it already reach top_p.
    beyond_BV = probs_BV.cumsum(-1) - probs_BV >= top_p
    return logits_BV.masked_fill(beyond_BV.scatter(1, order_BV, beyond_BV), float("-inf"))


def choose(logits_BV: Tensor, sampling: Sampling, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """Draw one token a row.

    Args:
        logits_BV: [B, V] fp32, penalties applied.
        sampling: temperature, top-k and top-p.
        generator: source of randomness.

    Returns:
        Ids [B] and their log-probability [B] under the model itself, before temperature and truncation: what a fresh
        forward pass gives, and what PPO compares with.
    """
    if sampling.is_greedy:
        ids_B = logits_BV.argmax(-1)
    else:
        scaled = logits_BV / sampling.temperature
        if sampling.top_k:
            scaled = keep_top_k(scaled, sampling.top_k)
        if sampling.top_p < 1:
            scaled = keep_top_p(scaled, sampling.top_p)
        ids_B = torch.multinomial(scaled.softmax(-1), 1, generator=generator)[:, 0]
    logprobs_B = logits_BV.gather(1, ids_B[:, None])[:, 0] - logits_BV.logsumexp(-1)
    return ids_B, logprobs_B
