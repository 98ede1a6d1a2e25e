r"""Rollouts: sampled responses with everything that PPO computes of them before the first gradient.

    prompts --engine--> responses --reward model--> scores
                            |------actor----------> logprobs            \
                            |------reference------> reference_logprobs   > rewards -> advantages, returns
                            `------critic---------> values              /

Two passes are saved where they would find what is known. An engine in this process has the actor's weights and
precision: where its log-probabilities are those of the actor in the first micro-batch, it is believed for the others.
And a rollout of one micro-batch for one optimizer step keeps the graph of its passes, so the step begins with the
backward pass.

Shape suffixes: B responses, R response tokens (padded on the right), N response tokens of a micro-batch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

import torch
from internlm2_core.nn.language_model import LanguageModel
from torch import Tensor, nn

from internlm2_align.ppo.advantages import gae
from internlm2_align.ppo.responses import PackedResponses, Responses, token_logprobs, token_values
from internlm2_align.ppo.rewards import KLEstimator, token_rewards
from internlm2_align.ppo.sampling import Scored
from internlm2_align.reward.network import RewardNetwork

Net = TypeVar("Net", bound=nn.Module)
Estimate = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Advantages and returns, [B, R] each, of rewards, values and mask."""

PER_TOKEN = ("mask", "logprobs", "entropies", "reference_logprobs", "values", "advantages", "returns")
OPTIONAL = ("engine_gaps", "live_logprobs", "live_values")
SAME = 1e-4
"""Nats by which log-probabilities of the same weights in the same precision differ at most: another order of sums."""


@dataclass(frozen=True)
class Rollout:
    """What one iteration of PPO learns from. All tensors are float32 without gradient unless said otherwise.

    Attributes:
        responses: The token ids.
        mask: [B, R] bool, true on response tokens.
        finished: [B] bool, whether the response ends in the end of turn.
        scores: [B], the reward model's, penalties included.
        computed: [B] bool, whether log-probabilities and entropies are the trainer's own. The others are the engine's
            log-probabilities, and their entropies are 0.
        logprobs: [B, R] under the actor that sampled, at the temperature of the sampling.
        entropies: [B, R] of the actor's distribution at each token, in nats.
        reference_logprobs: [B, R] under the frozen reference, at the same temperature.
        values: [B, R], the critic's estimate before each token.
        advantages: [B, R].
        returns: [B, R].
        engine_gaps: [B, R], log-probability under the trainer's actor minus that which the engine tells, at
            temperature 1. None where the engine tells none.
        live_logprobs: [B, R], the same as ``logprobs`` with their graph, for a backward pass. None where none is kept.
        live_values: [B, R], the same as ``values`` with their graph.
    """

    responses: Responses
    mask: Tensor
    finished: Tensor
    scores: Tensor
    computed: Tensor
    logprobs: Tensor
    entropies: Tensor
    reference_logprobs: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    engine_gaps: Tensor | None = None
    live_logprobs: Tensor | None = None
    live_values: Tensor | None = None

    def __post_init__(self) -> None:
        for name in PER_TOKEN:
            assert getattr(self, name).shape == self.mask.shape, name
        for name in ("finished", "scores", "computed"):
            assert getattr(self, name).shape == self.mask.shape[:1], name

    def select(self, rows: Sequence[int]) -> "Rollout":
        """Some of the responses, cut to the longest among them."""
        responses = self.responses.select(rows)
        width, chosen = max(map(len, responses.responses)), list(rows)
        cut = {name: getattr(self, name)[chosen] for name in ("finished", "scores", "computed")}
        wide = [*PER_TOKEN, *(name for name in OPTIONAL if getattr(self, name) is not None)]
        return Rollout(responses, **cut, **{name: getattr(self, name)[chosen, :width] for name in wide})

    def without_graph(self) -> "Rollout":
        """The same after an optimizer step, when the passes say nothing of the weights any more."""
        return replace(self, live_logprobs=None, live_values=None)


def never(is_same: bool) -> bool:
    """The engine is not believed."""
    return False


def judge_rollout(
    scored: Scored,
    actor: LanguageModel,
    reference: LanguageModel,
    critic: RewardNetwork | None,
    *,
    kl_coefficient: float = 0.01,
    kl_estimator: KLEstimator = "k1",
    estimate: Estimate = gae,
    micro_batch_tokens: int = 16_384,
    keeps_graph: bool = False,
    agree: Callable[[bool], bool] = never,
) -> Rollout:
    """Compute all that PPO needs of sampled responses.

    Args:
        scored: Sampled responses with their scores.
        actor: The policy that sampled.
        reference: What the actor is held close to.
        critic: Estimates what is still to come. Without one, values are 0.
        kl_coefficient: Price of a nat of divergence from the reference, per token.
        kl_estimator: Of the divergence, see `internlm2_align.ppo.rewards`.
        estimate: Advantages and returns of rewards, values and mask, such as `gae` with its constants bound.
        micro_batch_tokens: Tokens computed at once.
        keeps_graph: Whether one optimizer step over one micro-batch follows, which then needs no forward pass.
        agree: Whether the engine is believed, given whether this rank would. Ranks must make the same passes.
    """
    responses, scores_B = scored.responses, scored.scores
    forward = Forward(responses, micro_batch_tokens, scores_B.device)
    assert not keeps_graph or len(forward.batches) == 1
    with torch.set_grad_enabled(keeps_graph):
        logprobs_BR, entropies_BR, computed_B = _policy(forward, scored, actor, keeps_graph, agree)
        values_BR = torch.zeros_like(logprobs_BR) if critic is None else forward(critic, token_values, keeps_graph)[0]
    with torch.no_grad():
        [reference_BR] = forward(reference, partial(token_logprobs, temperature=scored.temperature))
        gaps_BR = _engine_gaps(forward, scored, actor, logprobs_BR.detach())
    mask_BR = responses.mask().to(scores_B.device)
    known = {"logprobs": logprobs_BR.detach(), "reference_logprobs": reference_BR, "values": values_BR.detach()}
    rewards_BR = token_rewards(
        scores_B, known["logprobs"], reference_BR, mask_BR, kl_coefficient=kl_coefficient, kl_estimator=kl_estimator
    )
    advantages_BR, returns_BR = estimate(rewards_BR, known["values"], mask_BR)
    return Rollout(
        responses=responses,
        mask=mask_BR,
        finished=scored.finished,
        scores=scores_B,
        computed=computed_B,
        entropies=entropies_BR.detach(),
        advantages=advantages_BR,
        returns=returns_BR,
        engine_gaps=gaps_BR,
        live_logprobs=logprobs_BR if keeps_graph else None,
        live_values=values_BR if keeps_graph and critic is not None else None,
        **known,
    )


def _policy(
    forward: "Forward", scored: Scored, actor: LanguageModel, keeps_graph: bool, agree: Callable[[bool], bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probabilities and entropies [B, R], and whether they are computed, [B]. The engine tells no entropies."""
    function = partial(token_logprobs, temperature=scored.temperature, with_entropy=True)
    found = forward.part(actor, function, forward.batches[0], keeps_graph)
    told = dict(enumerate(scored.engine_logprobs)) if scored.temperature == 1 and all(scored.engine_logprobs) else {}
    gaps = [(value[0].cpu() - torch.tensor(told[row])).abs().max() for row, value in found.items() if row in told]
    is_same = bool(told) and bool(torch.stack(gaps).max() <= SAME)
    if agree(len(forward.batches) == 1 or is_same):
        others = [row for batch in forward.batches[1:] for row in batch]
        computed_B = torch.tensor([row in found for row in range(len(scored.scores))])
        for row in others:
            told_R = torch.tensor(told[row], device=forward.device)
            found[row] = torch.stack((told_R, torch.zeros_like(told_R)))
    else:
        for batch in forward.batches[1:]:
            found |= forward.part(actor, function, batch, keeps_graph)
        computed_B = torch.ones(len(scored.scores), dtype=torch.bool)
    logprobs_BR, entropies_BR = forward.spread(found)
    return logprobs_BR, entropies_BR, computed_B.to(forward.device)


def _engine_gaps(forward: "Forward", scored: Scored, actor: LanguageModel, logprobs_BR: Tensor) -> Tensor | None:
    """Log-probabilities of the actor minus those of the engine, [B, R], or None where the engine tells none.

    Engines tell those of the model, so a policy of another temperature is computed once more.
    """
    if not all(scored.engine_logprobs):
        return None
    if scored.temperature != 1:
        [logprobs_BR] = forward(actor, token_logprobs)
    told_N = torch.tensor([value for row in scored.engine_logprobs for value in row], device=forward.device)
    return logprobs_BR - scored.responses.spread(told_N)


class Forward:
    """Runs a network over all responses, micro-batch by micro-batch, in eval mode.

    Args:
        responses: The responses.
        micro_batch_tokens: Tokens computed at once.
        device: Of the networks.
    """

    def __init__(self, responses: Responses, micro_batch_tokens: int, device: torch.device) -> None:
        self.responses, self.device = responses, device
        self.batches = list(responses.micro_batches(micro_batch_tokens))

    def __call__(
        self, net: Net, function: Callable[[Net, PackedResponses], Tensor], keeps_graph: bool = False
    ) -> list[Tensor]:
        """What a function gives for each response token, [N] or [K, N], as one or K tensors [B, R]."""
        found: dict[int, Tensor] = {}
        for rows in self.batches:
            found |= self.part(net, function, rows, keeps_graph)
        return self.spread(found)

    def part(
        self, net: Net, function: Callable[[Net, PackedResponses], Tensor], rows: Sequence[int], keeps_graph: bool
    ) -> dict[int, Tensor]:
        """What a function gives for some responses, [K, tokens of the response] by row."""
        was_training = net.training
        net.eval()
        part = self.responses.select(rows)
        with torch.set_grad_enabled(keeps_graph):
            values_KN = torch.atleast_2d(function(net, part.pack(self.device)).float())
        net.train(was_training)
        lengths = [len(reply) for reply in part.responses]
        return dict(zip(rows, values_KN.split(lengths, dim=-1), strict=True))

    def spread(self, found: dict[int, Tensor]) -> list[Tensor]:
        """Values of all responses by row, [K, tokens of the response] each, as K tensors [B, R]."""
        values_KN = torch.cat([found[row] for row in range(len(found))], dim=-1)
        return [self.responses.spread(values_N) for values_N in values_KN]
