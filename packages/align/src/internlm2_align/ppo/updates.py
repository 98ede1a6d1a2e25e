"""Losses of one optimizer step of PPO, micro-batch by micro-batch, as calls for `StepModule.take_step`.

Denominators count the whole step, so the sum of the losses does not depend on how it is cut.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import torch
from internlm2_core.batch import IGNORE, Batch, split_rows
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.training import StepLoss
from torch import Tensor

from internlm2_align.ppo.losses import clip_fraction
from internlm2_align.ppo.responses import token_logprobs, token_values
from internlm2_align.ppo.rollout import Rollout
from internlm2_align.reward.network import RewardNetwork


def mini_batches(
    rollout: Rollout, pretrain: Batch | None, *, parts: int, epochs: int, seed: int
) -> Iterator[tuple[Rollout, Batch | None]]:
    """Deal a rollout out to optimizer steps, each with its share of the pre-training rows.

    Args:
        rollout: B responses.
        pretrain: Pre-training rows. With fewer rows than parts, some parts get none.
        parts: Optimizer steps in a pass.
        epochs: Passes over the rollout, each dealt out anew.
        seed: Of the dealing.

    Raises:
        ValueError: If there are fewer responses than parts.
    """
    rows = len(rollout.scores)
    if rows < parts:
        raise ValueError(f"mini_batches={parts} must be at most the {rows} responses of an iteration.")
    texts: list[Batch | None] = [None] * parts
    if pretrain is not None:
        given = list(split_rows(pretrain, -(-len(pretrain["input_ids"]) // parts)))
        texts[: len(given)] = given
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(seed * 1_009 + epoch)
        order = torch.randperm(rows, generator=generator).tolist()
        for part in range(parts):
            yield rollout.select(order[part::parts]), texts[part]


def critic_losses(
    critic: RewardNetwork, rollout: Rollout, tokens: Tensor | float, budget: int, loss: Callable[..., Tensor]
) -> Iterator[Callable[[], StepLoss]]:
    """Value loss of each micro-batch.

    Args:
        critic: In training.
        rollout: The responses of the step.
        tokens: Denominator: response tokens of the step (per rank on average), a scalar.
        budget: Tokens of a micro-batch.
        loss: `value_loss`, or one like it.
    """
    for rows in rollout.responses.micro_batches(budget):
        yield partial(_critic_part, critic, rollout.select(rows), tokens, loss)


def _critic_part(critic: RewardNetwork, part: Rollout, tokens: Tensor | float, loss: Callable[..., Tensor]) -> StepLoss:
    values_BR = part.responses.spread(token_values(critic, part.responses.pack(part.scores.device)))
    found = loss(values_BR, part.returns, part.mask, tokens=tokens)
    return StepLoss(found, {"value_loss": found.detach()})


def actor_losses(
    actor: LanguageModel,
    rollout: Rollout,
    tokens: Tensor | float,
    budget: int,
    loss: Callable[..., Tensor],
    *,
    clip: float,
) -> Iterator[Callable[[], StepLoss]]:
    """Policy loss of each micro-batch.

    Args:
        actor: In training.
        rollout: The responses of the step.
        tokens: Denominator: response tokens of the step (per rank on average), a scalar.
        budget: Tokens of a micro-batch.
        loss: `policy_loss`, or one like it.
        clip: Half width of the trust interval of the ratio.
    """
    for rows in rollout.responses.micro_batches(budget):
        yield partial(_actor_part, actor, rollout.select(rows), tokens, loss, clip)


def _actor_part(
    actor: LanguageModel, part: Rollout, tokens: Tensor | float, loss: Callable[..., Tensor], clip: float
) -> StepLoss:
    logprobs_BR = part.responses.spread(token_logprobs(actor, part.responses.pack(part.scores.device)))
    found = loss(logprobs_BR, part.logprobs, part.advantages, part.mask, tokens=tokens, clip=clip)
    clipped = clip_fraction(logprobs_BR.detach(), part.logprobs, part.mask, clip=clip) * part.mask.sum() / tokens
    return StepLoss(found, {"policy_loss": found.detach(), "clip_fraction": clipped})


def pretrain_losses(
    actor: LanguageModel, batch: Batch | None, tokens: Tensor | float, budget: int, *, coefficient: float
) -> Iterator[Callable[[], StepLoss]]:
    """Weighted next-token loss of each micro-batch of pre-training rows.

    Args:
        actor: In training.
        batch: Pre-training rows. Nothing is yielded without them or without weight.
        tokens: Denominator: loss tokens of the step (per rank on average), a scalar.
        budget: Tokens of a micro-batch. At least one row is taken.
        coefficient: Weight. What is logged is unweighted, in nats per loss token.
    """
    if batch is None or coefficient == 0:
        return
    for part in split_rows(batch, max(1, budget // batch["input_ids"].shape[1])):
        yield partial(_pretrain_part, actor, part, tokens, coefficient)


def _pretrain_part(actor: LanguageModel, part: Batch, tokens: Tensor | float, coefficient: float) -> StepLoss:
    losses = actor(part["input_ids"], part["position_ids"], labels_BT=part["labels"])
    loss = losses.cross_entropy / tokens
    return StepLoss(coefficient * loss, {"pretrain_loss": loss.detach()})


def loss_tokens(batch: Batch | None) -> Tensor:
    """Tokens of a batch that carry loss."""
    return torch.tensor(0) if batch is None else (batch["labels"] != IGNORE).sum()


def floats(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers."""
    return {name: value.item() for name, value in figures.items()}
