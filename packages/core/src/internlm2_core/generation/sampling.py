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
        max_new_tokens: The most tokens of an answer.
        temperature: Divides the logits. 0 is greedy.
        top_p: Smallest set of tokens whose probability reaches this. 1 keeps all.
        top_k: Most probable tokens kept. 0 keeps all.
        repetition_penalty: Divides positive and multiplies negative logits of tokens already seen (CTRL,
            arXiv 1909.05858). 1 changes nothing.
        stop_ids: Tokens that end a sequence. They are part of it.
        stop: Strings that end a sequence as soon as its text holds one. The string is part of it.
        never_ids: Tokens that are never chosen.
        seed: Seed of the drawing. None draws from torch's global generator.
        logprobs: Whether the log-probability of each token is wanted. It takes a pass over the logits at each step.

    Raises:
        ValueError: If a value is outside its range.
    """

    max_new_tokens: int = 128
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    never_ids: tuple[int, ...] = ()
    seed: int | None = None
    logprobs: bool = True

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
                raise ValueError(f"{name}={getattr(self, name)} must be {limit}.")

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable token is always taken."""
        return self.temperature == 0

    @property
    def is_whole(self) -> bool:
        """Whether the model's own distribution is drawn from, without temperature and truncation."""
        return (self.temperature, self.top_p, self.top_k) == (1, 1, 0)


def penalise_repeats(logits_BV: Tensor, seen_BV: Tensor, penalty: float) -> Tensor:
    """Make tokens that were seen less likely.

    Args:
        logits_BV: Logits, [B, V].
        seen_BV: Whether each token was seen, [B, V] bool.
        penalty: How much less likely. 1 changes nothing.
    """
    penalised = torch.where(logits_BV > 0, logits_BV / penalty, logits_BV * penalty)
    return torch.where(seen_BV, penalised, logits_BV)


def candidates(logits_BV: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor | None]:
    """What may be drawn, under temperature, top-k and top-p (arXiv 1904.09751).

    Args:
        logits_BV: Logits, [B, V].
        sampling: Temperature, top-k and top-p. It must not be greedy.

    Returns:
        Probabilities [B, K], not normalised again after truncation, 0 for tokens that are cut off. The second value is
        the token of each, [B, K], the most probable first, or None where all V tokens are in their own order.
    """
    V = logits_BV.shape[-1]
    is_cut = 0 < sampling.top_k < V
    if not is_cut and sampling.top_p == 1:
        return (logits_BV / sampling.temperature).softmax(-1), None
    # Cut first, so that the rest works on a few tokens instead of the vocabulary.
    values_BK, ids_BK = logits_BV.topk(sampling.top_k) if is_cut else logits_BV.sort(descending=True)
    probs_BK = (values_BK / sampling.temperature).softmax(-1)
    if sampling.top_p < 1:
        # A token is cut when those before it already reach top_p. The first never is.
        probs_BK = probs_BK.masked_fill(probs_BK.cumsum(-1) - probs_BK >= sampling.top_p, 0.0)
    return probs_BK, ids_BK


def draw(probs_BK: Tensor, generator: torch.Generator | None) -> Tensor:
    """One place a row, in proportion to its weights, [B, 1]: where a uniform number falls in their running sum.

    Args:
        probs_BK: Weights of the places, [B, K].
        generator: Source of randomness. None takes torch's global one.
    """
    sums_BK = probs_BK.cumsum(-1)
    total_B1 = sums_BK[:, -1:]
    uniform_B1 = torch.rand(len(probs_BK), 1, generator=generator, device=probs_BK.device)
    # Rounding may reach the end of the sum, behind which there is no place: stay below it.
    below_B1 = total_B1.nextafter(torch.zeros_like(total_B1))
    return torch.searchsorted(sums_BK, below_B1.minimum(uniform_B1 * total_B1), right=True)


def choose(logits_BV: Tensor, sampling: Sampling, generator: torch.Generator | None) -> tuple[Tensor, Tensor | None]:
    """Draw one token a row.

    Args:
        logits_BV: Logits with penalties applied, [B, V] fp32.
        sampling: Temperature, top-k and top-p.
        generator: Source of randomness. None takes torch's global one.

    Returns:
        Ids [B] and their log-probability [B] under the model itself, before temperature and truncation: what a fresh
        forward pass gives, and what PPO compares with. None where it is not wanted.
    """
    logprobs_BV = logits_BV.log_softmax(-1) if sampling.logprobs else None
    # The whole distribution needs no second pass over the vocabulary. Argmax wants the last bits of logits.
    whole_BV = logprobs_BV if sampling.is_whole else None
    allowed_BV = logits_BV if whole_BV is None else whole_BV
    if sampling.never_ids:
        never = torch.tensor(sampling.never_ids, device=logits_BV.device)
        allowed_BV = allowed_BV.index_fill(-1, never, -torch.inf)
    if sampling.is_greedy:
        ids_B1 = allowed_BV.argmax(-1, keepdim=True)
    elif whole_BV is not None:
        ids_B1 = draw(allowed_BV.exp(), generator)
    else:
        probs_BK, tokens_BK = candidates(allowed_BV, sampling)
        ids_B1 = draw(probs_BK, generator)
        ids_B1 = ids_B1 if tokens_BK is None else tokens_BK.gather(1, ids_B1)
    return ids_B1[:, 0], None if logprobs_BV is None else logprobs_BV.gather(1, ids_B1)[:, 0]
