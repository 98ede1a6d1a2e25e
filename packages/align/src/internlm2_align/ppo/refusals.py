"""What PPO refuses before it starts."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import lightning as L
from internlm2_core.generation import Sampling
from internlm2_core.shares import CopiesWholeWeights, SaysHowWeightsLie, SharesCopies

from internlm2_align.ppo.prompt import Prompt
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.roles.on_ray import RayEngines
from internlm2_align.roles.on_vllm import VLLMActor


@runtime_checkable
class CountsIterations(Protocol):
    """Data that say how long PPO runs.

    Attributes:
        iterations: Iterations in all, the critic's warm-up included.
    """

    iterations: int


@runtime_checkable
class HoldsPrompts(Protocol):
    """Data whose prompts are all known before the first iteration.

    Attributes:
        prompts: Asked in training.
        heldout_prompts: Asked in validation.
    """

    prompts: Sequence[Prompt]
    heldout_prompts: Sequence[Prompt]


def check_data(
    trainer: L.Trainer, stage: str, warmup_iterations: int, encoder: ConversationEncoder, max_new_tokens: int
) -> None:
    """Refuse data that do not fit the Trainer's settings or the reward model.

    Args:
        trainer: Lightning's, with the data.
        stage: Of Lightning.
        warmup_iterations: Those in which only the critic learns.
        encoder: Of the reward model.
        max_new_tokens: Tokens of a reply at most.

    Raises:
        ValueError: If `check_iterations` or `check_lengths` refuses.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if stage == "fit" and isinstance(data, CountsIterations):
        check_iterations(trainer, data.iterations, warmup_iterations)
    if isinstance(data, HoldsPrompts):
        check_lengths([*data.prompts, *data.heldout_prompts], encoder, max_new_tokens)


def check_lengths(prompts: Sequence[Prompt], encoder: ConversationEncoder, max_new_tokens: int) -> None:
    """Refuse prompts to which the reward model could not read a reply of full length.

    Args:
        prompts: All that are asked.
        encoder: Of the reward model.
        max_new_tokens: Tokens of a reply at most.

    Raises:
        UnknownDomainError: If a domain has no condition.
        ValueError: If a prompt with its condition and reply may have more tokens than ``max_tokens``.
    """
    longest: dict[tuple[str, str], int] = {}
    for prompt in prompts:
        key = (prompt.domain, prompt.language)
        longest[key] = max(len(prompt.ids), longest.get(key, 0))
    for (domain, language), tokens in longest.items():
        around = encoder.tokens_around(domain, language)
        if (whole := tokens + max_new_tokens + around) > encoder.max_tokens:
            raise ValueError(
                f"A prompt of {tokens} tokens (see max_prompt_tokens), max_new_tokens={max_new_tokens} and {around} "
                f"tokens of the condition of {domain!r} make {whole}, more than max_tokens={encoder.max_tokens} of the "
                "reward model."
            )


def check_strategy(trainer: L.Trainer) -> None:
    """Refuse strategies under which replies cannot be sampled or scored.

    Raises:
        ValueError: If the strategy splits rows or stages, or does not say how weights lie or how they are copied.
    """
    how = trainer.strategy
    name = type(how).__name__
    if isinstance(how, SaysHowWeightsLie):
        if found := [f"{field}=True" for field in ("splits_rows", "has_stages") if getattr(how, field)]:
            raise ValueError(
                f"PPO samples replies and scores them, for which each rank needs whole rows and all blocks. {name} "
                f"spreads them over ranks: {', '.join(found)}. Take fsdp, hsdp or tensor."
            )
        if (how.gathers_weights or how.splits_layers) and not isinstance(how, CopiesWholeWeights):
            raise ValueError(
                f"{name} shards or splits weights and does not say how they are copied (see "
                "internlm2_core.shares.CopiesWholeWeights). Take a strategy of internlm2_parallel."
            )
    elif trainer.world_size > 1:
        raise ValueError(
            f"{name} does not say whether it keeps weights whole (see internlm2_core.shares.SaysHowWeightsLie). Take a "
            "strategy of internlm2_parallel."
        )


def check_groups(trainer: L.Trainer, group_size: int) -> None:
    """Refuse groups of ranks that cannot share copies of the actor.

    Args:
        trainer: Lightning's.
        group_size: Ranks of a group. 0 means none.

    Raises:
        ValueError: If the strategy knows no groups, or they would not be of one size.
    """
    if group_size and not isinstance(trainer.strategy, SharesCopies):
        raise ValueError(
            f"{type(trainer.strategy).__name__} does not say how ranks share a copy (see "
            f"internlm2_core.shares.SharesCopies), so group_size={group_size} must be 0. Take a strategy of "
            "internlm2_parallel."
        )
    if group_size and trainer.world_size % group_size:
        raise ValueError(f"group_size={group_size} must divide the ranks of the run, which are {trainer.world_size}.")


def check_engine(engine: object, sample_with: str) -> None:
    """Refuse to give parts of weights to engines that are in other processes.

    Args:
        engine: Makes the engine.
        sample_with: Of `Roles`.

    Raises:
        ValueError: If the engine needs whole weights and would not get them.
    """
    if isinstance(engine, (RayEngines, VLLMActor)) and sample_with != "copies":
        raise ValueError(
            f"sample_with={sample_with} must be copies with {type(engine).__name__}, which needs whole weights. The "
            "local engine can sample from parts."
        )


def check_apart(trainer: L.Trainer, roles: Sequence[str]) -> None:
    """Refuse to train networks in processes of their own where gradients are shared by ranks, or scaled.

    Args:
        trainer: Lightning's.
        roles: Those that are trained in processes of their own.

    Raises:
        ValueError: If there are such roles, and a strategy of several ranks or scaled losses.
    """
    if not roles:
        return
    if trainer.world_size > 1 or isinstance(trainer.strategy, SaysHowWeightsLie):
        raise ValueError(
            f"{type(trainer.strategy).__name__} trains on ranks, each of which would train {' and '.join(roles)} in a "
            "process of its own. Take one process without a mesh (strategy=single), or leave them in the ranks."
        )
    if getattr(trainer.precision_plugin, "scaler", None) is not None:
        raise ValueError(
            f"precision={trainer.precision} scales losses, which {' and '.join(roles)} in a process of its own cannot "
            "see. It must be bf16-mixed, or one without scaling."
        )


def check_sampling(sampling: Sampling) -> None:
    """Refuse a policy that ratios and divergence cannot follow.

    Raises:
        ValueError: If repeated tokens are penalised: the policy at a token then depends on more than the model.
    """
    if sampling.repetition_penalty != 1:
        raise ValueError(
            f"repetition_penalty={sampling.repetition_penalty} must be 1 in PPO: ratios and divergence are those of "
            "the model, which knows of no penalty."
        )


def check_mismatch(mismatch: float, limit: float, iteration: int) -> None:
    """Refuse an engine that samples from other weights than the actor's.

    Args:
        mismatch: What log-probabilities of engine and actor differ by, in nats per token.
        limit: Most that is taken for another order of the same sums.
        iteration: Of the run.

    Raises:
        ValueError: If it is above the limit.
    """
    if mismatch > limit:
        raise ValueError(
            f"Log-probabilities of engine and actor differ by {mismatch:.3g} nats per token in iteration {iteration}, "
            f"more than max_mismatch={limit}. The engine does not sample with the actor's weights, or in a much "
            "narrower precision."
        )


def check_iterations(trainer: L.Trainer, iterations: int, warmup_iterations: int) -> None:
    """Refuse numbers that leave the actor unlearnt or its last state unmeasured.

    Args:
        trainer: Lightning's.
        iterations: Of the run.
        warmup_iterations: Those in which only the critic learns.

    Raises:
        ValueError: If the Trainer's settings do not fit the iterations.
    """
    if (epochs := trainer.max_epochs) != 1:
        raise ValueError(f"max_epochs={epochs} must be 1 in PPO: iterations={iterations} says how long it runs.")
    if warmup_iterations >= iterations:
        raise ValueError(
            f"warmup_iterations={warmup_iterations} must be below iterations={iterations}, or the actor never learns."
        )
    every = trainer.val_check_interval
    # 1.0 is Lightning's "at the end".
    if trainer.enable_validation and every != 1.0 and (not isinstance(every, int) or iterations % every):
        raise ValueError(
            f"val_check_interval={every} must divide iterations={iterations}, so that the last actor is validated."
        )
