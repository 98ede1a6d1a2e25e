r"""Rollouts: sampled responses with everything that PPO computes of them before the first gradient.

    prompts --engine--> responses --reward model--> scores
                            |------actor----------> logprobs            \
                            |------reference------> reference_logprobs   > rewards -> advantages, returns
                            `------critic---------> values              /

Shape suffixes: B responses, R response tokens (padded on the right).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from internlm2_core.nn.language_model import LanguageModel
from torch import Tensor, nn

from internlm2_align.ppo.advantages import gae
from internlm2_align.ppo.responses import PackedResponses, Responses, token_logprobs, token_values
from internlm2_align.ppo.rewards import sequence_kl, token_rewards
from internlm2_align.ppo.sampling import Scored
from internlm2_align.reward.network import RewardNetwork

Net = TypeVar("Net", bound=nn.Module)


PER_TOKEN = ("mask", "logprobs", "entropies", "reference_logprobs", "values", "advantages", "returns")


@dataclass(frozen=True)
class Rollout:
    """What one iteration of PPO learns from. All tensors are float32 without gradient unless said otherwise.

    Attributes:
        responses: The token ids.
        mask: [B, R] bool, true on response tokens.
        finished: [B] bool, whether the response ends in the end of turn.
        scores: [B], the reward model's, penalties included.
        logprobs: [B, R] under the actor that sampled, at the temperature of the sampling.
        entropies: [B, R] of the actor's distribution at each token, in nats.
        reference_logprobs: [B, R] under the frozen reference, at the same temperature.
        values: [B, R], the critic's estimate before each token.
        advantages: [B, R].
        returns: [B, R].
        engine_gap: Sum over tokens of what log-probabilities of engine and actor differ by, a scalar in nats. None
            where the engine tells none.
    """

    responses: Responses
    mask: Tensor
    finished: Tensor
    scores: Tensor
    logprobs: Tensor
    entropies: Tensor
    reference_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    engine_gap: Tensor | None = None

    def __post_init__(self) -> None:
        for name in PER_TOKEN:
            assert getattr(self, name).shape == self.mask.shape, name
        for name in ("finished", "scores"):
            assert getattr(self, name).shape == self.mask.shape[:1], name

    def select(self, rows: list[int]) -> "Rollout":
        """Some of the responses, cut to the longest among them."""
        responses = self.responses.select(rows)
        width = max(map(len, responses.responses))
        cut = {name: getattr(self, name)[rows] for name in ("finished", "scores")}
        cut |= {name: getattr(self, name)[rows, :width] for name in PER_TOKEN}
        return Rollout(responses, **cut)

    def sums(self) -> dict[str, Tensor]:
        """Scalars in float64, each a sum over responses or tokens. Added up over ranks they give `figures`."""
        mask = self.mask
        returns_N, errors_N = self.returns[mask].double(), (self.returns - self.values)[mask].double()
        found = {
            "responses": torch.tensor(len(self.scores)),
            "tokens": mask.sum(),
            "scores": self.scores.sum(),
            "kl": sequence_kl(self.logprobs, self.reference_logprobs, mask).sum(),
            "finished": self.finished.sum(),
            "entropy": self.entropies[mask].sum(),
            "returns": returns_N.sum(),
            "squared_returns": returns_N.square().sum(),
            "errors": errors_N.sum(),
            "squared_errors": errors_N.square().sum(),
        }
        if self.engine_gap is not None:
            found["engine_gap"] = self.engine_gap
        return {name: value.double().to(mask.device) for name, value in found.items()}


def figures(sums: Mapping[str, Tensor]) -> dict[str, float]:
    """Means to log, of the responses of all ranks.

    Args:
        sums: Those of `Rollout.sums`, added up over ranks, or averaged.

    Returns:
        Score, tokens and divergence in nats per response, share finished, entropy in nats per token, share of the
        variance of returns that the critic explains, and in nats per token how far the engine is off.
    """
    responses, tokens = sums["responses"], sums["tokens"]
    variance = sums["squared_returns"] / tokens - (sums["returns"] / tokens).square()
    unexplained = sums["squared_errors"] / tokens - (sums["errors"] / tokens).square()
    found = {
        "reward": sums["scores"] / responses,
        "kl": sums["kl"] / responses,
        "length": tokens / responses,
        "finished": sums["finished"] / responses,
        "entropy": sums["entropy"] / tokens,
        "explained_variance": 1 - unexplained / variance.clamp(min=1e-8),
    }
    if "engine_gap" in sums:
        found["engine_mismatch"] = sums["engine_gap"] / tokens
    return {name: value.item() for name, value in found.items()}


@torch.no_grad()
def judge_rollout(
    scored: Scored,
    actor: LanguageModel,
    reference: LanguageModel,
    critic: RewardNetwork,
    *,
    kl_coefficient: float = 0.01,
    gamma: float = 1.0,
    lam: float = 0.99,
    micro_batch_tokens: int = 16_384,
) -> Rollout:
    """Compute all that PPO needs of sampled responses.

    The actor's log-probabilities are computed here rather than taken from the engine, so that the first ratio is 1
    whatever numerics the engine has.

    Args:
        scored: Sampled responses with their scores.
        actor: The policy that sampled.
        reference: What the actor is held close to.
        critic: Estimates what is still to come.
        kl_coefficient: Price of a nat of divergence from the reference, per token.
        gamma: Discount.
        lam: Lambda of the advantage estimate.
        micro_batch_tokens: Tokens computed at once.
    """
    responses, scores_B = scored.responses, scored.scores
    forward = _Forward(responses, micro_batch_tokens, scores_B.device)
    logprobs_BR, entropies_BR = forward(
        actor, partial(token_logprobs, temperature=scored.temperature, with_entropy=True)
    )
    [reference_BR] = forward(reference, partial(token_logprobs, temperature=scored.temperature))
    [values_BR] = forward(critic, token_values)
    mask_BR = responses.mask().to(scores_B.device)
    rewards_BR = token_rewards(scores_B, logprobs_BR, reference_BR, mask_BR, kl_coefficient=kl_coefficient)
    advantages_BR, returns_BR = gae(rewards_BR, values_BR, mask_BR, gamma=gamma, lam=lam)
    return Rollout(
        responses=responses,
        mask=mask_BR,
        finished=scored.finished,
        scores=scores_B,
        logprobs=logprobs_BR,
        entropies=entropies_BR,
        reference_logprobs=reference_BR,
        values=values_BR,
        advantages=advantages_BR,
        returns=returns_BR,
        engine_gap=engine_gap(forward, scored, actor, logprobs_BR[mask_BR]),
    )


def engine_gap(forward: "_Forward", scored: Scored, actor: LanguageModel, logprobs_N: Tensor) -> Tensor | None:
    """How far the engine's log-probabilities are off those of the actor, summed over tokens, a scalar in nats.

    Args:
        forward: Computes the actor's, where the policy has another temperature. Engines tell those of the model.
        scored: What the engine has sampled. None is returned if it tells no log-probabilities.
        actor: The policy that it should have sampled from.
        logprobs_N: The actor's log-probabilities at the temperature of the sampling, [N].
    """
    if not all(scored.engine_logprobs):
        return None
    if scored.temperature != 1:
        [logprobs_BR] = forward(actor, token_logprobs)
        logprobs_N = logprobs_BR[scored.responses.mask().to(logprobs_BR.device)]
    told_N = torch.tensor([value for row in scored.engine_logprobs for value in row], device=logprobs_N.device)
    return (told_N - logprobs_N).abs().sum()


class _Forward:
    """Runs a network over all responses, micro-batch by micro-batch, in eval mode."""

    def __init__(self, responses: Responses, micro_batch_tokens: int, device: torch.device) -> None:
        self.responses, self.device = responses, device
        self.batches = list(responses.micro_batches(micro_batch_tokens))

    def __call__(self, net: Net, function: Callable[[Net, PackedResponses], Tensor]) -> list[Tensor]:
        """What a function gives for each response token, [N] or [K, N], as one or K tensors [B, R]."""
        was_training = net.training
        net.eval()
        per_row: list[Tensor] = [torch.empty(0)] * len(self.responses.responses)
        for rows in self.batches:
            part = self.responses.select(rows)
            values_KN = torch.atleast_2d(function(net, part.pack(self.device)).float())
            lengths = [len(reply) for reply in part.responses]
            for row, value in zip(rows, values_KN.split(lengths, dim=-1), strict=True):
                per_row[row] = value
        net.train(was_training)
        return [self.responses.spread(values_N) for values_N in torch.cat(per_row, dim=-1)]
