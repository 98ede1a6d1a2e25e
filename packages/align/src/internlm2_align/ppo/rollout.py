r"""Rollouts: sampled responses with everything that PPO computes of them before the first gradient.

    prompts --engine--> responses --reward model--> scores
                            |------actor----------> logprobs            \
                            |------reference------> reference_logprobs   > rewards -> advantages, returns
                            `------critic---------> values              /

Shape suffixes: B responses, R response tokens (padded on the right).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from internlm2_core.nn.language_model import LanguageModel
from torch import Tensor, nn

from internlm2_align.ppo.advantages import gae
from internlm2_align.ppo.responses import PackedResponses, Responses, token_logprobs, token_values
from internlm2_align.ppo.rewards import sequence_kl, token_rewards
from internlm2_align.reward.network import RewardNetwork

Net = TypeVar("Net", bound=nn.Module)


@dataclass(frozen=True)
class Rollout:
    """What one iteration of PPO learns from. All tensors are float32 without gradient unless said otherwise.

    Attributes:
        responses: The token ids.
        mask: [B, R] bool, true on response tokens.
        finished: [B] bool, whether the response ends in the end of turn.
        scores: [B], the reward model's, penalties included.
        logprobs: [B, R] under the actor that sampled.
        reference_logprobs: [B, R] under the frozen reference.
        values: [B, R], the critic's estimate before each token.
        advantages: [B, R].
        returns: [B, R].
    """

    responses: Responses
    mask: Tensor
    finished: Tensor
    scores: Tensor
    logprobs: Tensor
    reference_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor

    def __post_init__(self) -> None:
        for name in ("logprobs", "reference_logprobs", "values", "advantages", "returns"):
            assert getattr(self, name).shape == self.mask.shape, name
        for name in ("finished", "scores"):
            assert getattr(self, name).shape == self.mask.shape[:1], name

    def select(self, rows: list[int]) -> "Rollout":
        """Some of the responses, cut to the longest among them."""
        responses = self.responses.select(rows)
        width = max(map(len, responses.responses))
        cut = {name: getattr(self, name)[rows] for name in ("finished", "scores")}
        for name in ("mask", "logprobs", "reference_logprobs", "values", "advantages", "returns"):
            cut[name] = getattr(self, name)[rows, :width]
        return Rollout(responses, **cut)

    def summary(self) -> dict[str, float]:
        """Means to log: score, divergence in nats per response, tokens, share finished, explained variance."""
        kl_B = sequence_kl(self.logprobs, self.reference_logprobs, self.mask)
        returns_N, values_N = self.returns[self.mask], self.values[self.mask]
        variance = returns_N.var(correction=0).clamp(min=1e-8)
        return {
            "reward": self.scores.mean().item(),
            "kl": kl_B.mean().item(),
            "length": self.mask.sum(1).float().mean().item(),
            "finished": self.finished.float().mean().item(),
            "entropy": -self.logprobs[self.mask].mean().item(),
            "explained_variance": 1 - ((returns_N - values_N).var(correction=0) / variance).item(),
        }


@torch.no_grad()
def judge_rollout(
    responses: Responses,
    scores_B: Tensor,
    finished_B: Tensor,
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
        responses: Prompts and sampled responses.
        scores_B: The reward model's scores, [B].
        finished_B: Bool, [B], whether a response ended by itself.
        actor: The policy that sampled.
        reference: What the actor is held close to.
        critic: Estimates what is still to come.
        kl_coefficient: Price of a nat of divergence from the reference, per token.
        gamma: Discount.
        lam: Lambda of the advantage estimate.
        micro_batch_tokens: Tokens computed at once.
    """
    forward = _Forward(responses, micro_batch_tokens, scores_B.device)
    logprobs_BR = forward(actor, token_logprobs)
    reference_BR = forward(reference, token_logprobs)
    values_BR = forward(critic, token_values)
    mask_BR = responses.mask().to(scores_B.device)
    rewards_BR = token_rewards(scores_B, logprobs_BR, reference_BR, mask_BR, kl_coefficient=kl_coefficient)
    advantages_BR, returns_BR = gae(rewards_BR, values_BR, mask_BR, gamma=gamma, lam=lam)
    return Rollout(
        responses, mask_BR, finished_B, scores_B, logprobs_BR, reference_BR, values_BR, advantages_BR, returns_BR
    )


class _Forward:
    """Runs a network over all responses, micro-batch by micro-batch, in eval mode."""

    def __init__(self, responses: Responses, micro_batch_tokens: int, device: torch.device) -> None:
        self.responses, self.device = responses, device
        self.batches = list(responses.micro_batches(micro_batch_tokens))

    def __call__(self, net: Net, function: Callable[[Net, PackedResponses], Tensor]) -> Tensor:
        was_training = net.training
        net.eval()
        per_row: list[Tensor] = [torch.empty(0)] * len(self.responses.responses)
        for rows in self.batches:
            part = self.responses.select(rows)
            values_N = function(net, part.pack(self.device)).float()
            for row, value in zip(rows, values_N.split([len(reply) for reply in part.responses]), strict=True):
                per_row[row] = value
        net.train(was_training)
        return self.responses.spread(torch.cat(per_row))
