"""Losses of one optimizer step, micro-batch by micro-batch: the caller runs each backward as it comes.

Denominators count the whole step, so the sum of the losses does not depend on how it is cut.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from internlm2_core.batch import IGNORE, Batch
from internlm2_core.lm import split_rows
from internlm2_core.nn.language_model import LanguageModel
from torch import Tensor

from internlm2_align.ppo.losses import clip_fraction, policy_loss, value_loss
from internlm2_align.ppo.responses import token_logprobs, token_values
from internlm2_align.ppo.rollout import Rollout
from internlm2_align.reward.network import RewardNetwork


class StepLoss(NamedTuple):
    """A micro-batch's part of an optimizer step.

    Attributes:
        loss: Scalar with gradient.
        figures: Parts of what is logged, to be added up over the step.
    """

    loss: Tensor
    figures: dict[str, Tensor]


def mini_batches(
    rollout: Rollout, pretrain: Batch | None, *, parts: int, epochs: int, seed: int
) -> Iterator[tuple[Rollout, Batch | None]]:
    """Deal a rollout out to optimizer steps, each with its share of the pre-training rows.

    Args:
        rollout: B responses.
        pretrain: Pre-training rows; with fewer rows than parts, some parts get none.
        parts: Optimizer steps in a pass.
        epochs: Passes over the rollout, each dealt out anew.
        seed: Of the dealing.

    Raises:
        ValueError: If there are fewer responses than parts.
    """
    rows = len(rollout.scores)
    if rows < parts:
        raise ValueError(f"{rows} responses cannot make {parts} mini-batches; lower settings.mini_batches.")
    texts: list[Batch | None] = [None] * parts
    if pretrain is not None:
        given = list(split_rows(pretrain, -(-len(pretrain["input_ids"]) // parts)))
        texts[: len(given)] = given
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(seed * 1_009 + epoch)
        order = torch.randperm(rows, generator=generator).tolist()
        for part in range(parts):
            yield rollout.select(order[part::parts]), texts[part]


def critic_losses(critic: RewardNetwork, rollout: Rollout, tokens: Tensor | float, budget: int) -> Iterator[StepLoss]:
    """Value loss of each micro-batch.

    Args:
        critic: In training.
        rollout: The responses of the step.
        tokens: Denominator: response tokens of the step (per rank on average).
        budget: Tokens of a micro-batch.
    """
    for rows in rollout.responses.micro_batches(budget):
        part = rollout.select(rows)
        values_BR = part.responses.spread(token_values(critic, part.responses.pack(part.scores.device)))
        loss = value_loss(values_BR, part.returns, part.mask, tokens=tokens)
        yield StepLoss(loss, {"value_loss": loss.detach()})


def actor_losses(
    actor: LanguageModel, rollout: Rollout, tokens: Tensor | float, budget: int, *, clip: float
) -> Iterator[StepLoss]:
    """Policy loss of each micro-batch; arguments as for `critic_losses`, ``clip`` as for `policy_loss`."""
    for rows in rollout.responses.micro_batches(budget):
        part = rollout.select(rows)
        logprobs_BR = part.responses.spread(token_logprobs(actor, part.responses.pack(part.scores.device)))
        loss = policy_loss(logprobs_BR, part.logprobs, part.advantages, part.mask, tokens=tokens, clip=clip)
        clipped = clip_fraction(logprobs_BR.detach(), part.logprobs, part.mask, clip=clip) * part.mask.sum() / tokens
        yield StepLoss(loss, {"policy_loss": loss.detach(), "clip_fraction": clipped})


def pretrain_losses(
    actor: LanguageModel, batch: Batch | None, tokens: Tensor | float, budget: int, *, coefficient: float
) -> Iterator[StepLoss]:
    """Weighted next-token loss of each micro-batch of pre-training rows.

    Args:
        actor: In training.
        batch: Pre-training rows; nothing is yielded without them or without weight.
        tokens: Denominator: loss tokens of the step (per rank on average).
        budget: Tokens of a micro-batch; at least one row is taken.
        coefficient: Weight. What is logged is unweighted, in nats per loss token.
    """
    if batch is None or coefficient == 0:
        return
    for part in split_rows(batch, max(1, budget // batch["input_ids"].shape[1])):
        losses = actor(part["input_ids"], part["position_ids"], labels_BT=part["labels"])
        loss = losses.cross_entropy / tokens
        yield StepLoss(coefficient * loss, {"pretrain_loss": loss.detach()})


def loss_tokens(batch: Batch | None) -> Tensor:
    """Tokens of a batch that carry loss."""
    return torch.tensor(0) if batch is None else (batch["labels"] != IGNORE).sum()
