"""Losses of one optimizer step of PPO, micro-batch by micro-batch, as calls for `StepModule.take_step`.

Denominators count the whole step, so the sum of the losses does not depend on how it is cut.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import cast

import torch
from internlm2_core.batch import IGNORE, Batch, split_rows
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.training import StepLoss
from torch import Tensor

from internlm2_align.ppo.losses import step_figures
from internlm2_align.ppo.responses import token_logprobs, token_values
from internlm2_align.ppo.rollout import Rollout
from internlm2_align.reward.network import RewardNetwork


def mini_batches(
    rollout: Rollout, pretrain: Batch | None, *, parts: int, epochs: int, seed: int
) -> Iterator[tuple[Rollout, Batch | None]]:
    """Deal a rollout out to optimizer steps, each with its share of the pre-training rows.

    Args:
        rollout: B responses.
        pretrain: Pre-training rows, dealt as evenly as they can. With fewer rows than parts, some parts get none.
        parts: Optimizer steps in a pass.
        epochs: Passes over the rollout, each dealt out anew.
        seed: Of the dealing.

    Raises:
        ValueError: If there are fewer responses than parts.
    """
    rows = len(rollout.scores)
    if rows < parts:
        raise ValueError(f"mini_batches={parts} must be at most the {rows} responses of an iteration.")
    texts = [None] * parts if pretrain is None else dealt(pretrain, parts)
    for epoch in range(epochs):
        generator = torch.Generator().manual_seed(seed * 1_009 + epoch)
        order = torch.randperm(rows, generator=generator).tolist()
        for part in range(parts):
            yield rollout.select(order[part::parts]), texts[part]
            rollout = rollout.without_graph()


def dealt(batch: Batch, parts: int) -> list[Batch | None]:
    """The rows of a batch in parts that differ by one row at most. A part without rows is None.

    Args:
        batch: Rows.
        parts: How many.
    """
    pieces = {name: value.tensor_split(parts) for name, value in batch.items() if isinstance(value, Tensor)}
    found = [dict(zip(pieces, values, strict=True)) for values in zip(*pieces.values(), strict=True)]
    return [cast(Batch, part) if len(part["input_ids"]) else None for part in found]


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
    values_BR = part.live_values
    if values_BR is None:
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
    temperature: float = 1.0,
) -> Iterator[Callable[[], StepLoss]]:
    """Policy loss of each micro-batch.

    Args:
        actor: In training.
        rollout: The responses of the step.
        tokens: Denominator: response tokens of the step (per rank on average), a scalar.
        budget: Tokens of a micro-batch.
        loss: `policy_loss`, or one like it.
        clip: Half width of the trust interval of the ratio.
        temperature: Of the sampling.
    """
    for rows in rollout.responses.micro_batches(budget):
        yield partial(_actor_part, actor, rollout.select(rows), tokens, loss, clip, temperature)


def _actor_part(
    actor: LanguageModel,
    part: Rollout,
    tokens: Tensor | float,
    loss: Callable[..., Tensor],
    clip: float,
    temperature: float,
) -> StepLoss:
    logprobs_BR, entropies_BR = part.live_logprobs, part.entropies
    if logprobs_BR is None:
        packed = part.responses.pack(part.scores.device)
        found_2N = token_logprobs(actor, packed, temperature, with_entropy=True)
        logprobs_BR, entropies_BR = (part.responses.spread(values_N) for values_N in found_2N)
    found = loss(logprobs_BR, part.logprobs, part.advantages, part.mask, tokens=tokens, clip=clip)
    figures = step_figures(logprobs_BR.detach(), part.logprobs, part.advantages, part.mask, tokens=tokens, clip=clip)
    figures["entropy"] = entropies_BR.detach().sum() / tokens
    return StepLoss(found, {"policy_loss": found.detach(), **figures})


def pretrain_losses(
    actor: LanguageModel, batch: Batch | None, tokens: Tensor | float, budget: int, *, coefficient: float
) -> Iterator[Callable[[], StepLoss]]:
    """Weighted next-token loss of each micro-batch of pre-training rows.

    Args:
        actor: In training.
        batch: Pre-training rows. Nothing is yielded without them or without weight.
        tokens: Denominator: loss tokens of the step (per rank on average), a scalar.
        budget: Tokens of a micro-batch. At least one row is taken.
        coefficient: Weight. The figures are unweighted sums: nats, and the tokens that they are of.
    """
    if batch is None or coefficient == 0:
        return
    for part in split_rows(batch, max(1, budget // batch["input_ids"].shape[1])):
        yield partial(_pretrain_part, actor, part, tokens, coefficient)


def _pretrain_part(actor: LanguageModel, part: Batch, tokens: Tensor | float, coefficient: float) -> StepLoss:
    losses = actor(part["input_ids"], part["position_ids"], labels_BT=part["labels"])
    figures = {"pretrain_nats": losses.cross_entropy.detach(), "pretrain_tokens": loss_tokens(part)}
    return StepLoss(coefficient * losses.cross_entropy / tokens, figures)


def evened(parts: Sequence[Callable[[], StepLoss]], count: int) -> Sequence[Callable[[], StepLoss]]:
    """So many micro-batches: those given, and as often as needed the last one once more with weight 0.

    Ranks that exchange gradients or gather weights in every pass must make as many passes as the others.

    Args:
        parts: One at least.
        count: At least their number.
    """
    return [*parts, *[partial(_silent, parts[-1])] * (count - len(parts))]


def _silent(part: Callable[[], StepLoss]) -> StepLoss:
    loss, figures = part()
    return StepLoss(0 * loss, {name: torch.zeros_like(value) for name, value in figures.items()})


def loss_tokens(batch: Batch | None) -> Tensor:
    """Tokens of a batch that carry loss."""
    return torch.tensor(0) if batch is None else (batch["labels"] != IGNORE).sum()


def floats(figures: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars as numbers."""
    return {name: value.item() for name, value in figures.items()}
