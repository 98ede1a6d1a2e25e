"""All four models in one process, on one device."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text import load_tokenizer

from internlm2_align.ppo.critic import start_critic
from internlm2_align.reward.network import RewardNetwork, load_reward

CriticFrom = Literal["reward", "actor"]


@dataclass(frozen=True)
class Roles:
    """Makers of the four models. Each is called once, when the strategy is ready for it.

    Attributes:
        actor: The policy in training.
        critic: Estimates what is still to come.
        reference: What the actor is held close to.
        reward: Scores whole responses.
    """

    actor: Callable[[], LanguageModel]
    critic: Callable[[], RewardNetwork]
    reference: Callable[[], LanguageModel]
    reward: Callable[[], RewardNetwork]


def local_roles(
    actor: str | Path,
    reward: str | Path,
    reference: str | Path | None = None,
    critic: CriticFrom = "reward",
    frozen_dtype: str | None = None,
) -> Roles:
    """Roles from two folders.

    Args:
        actor: The SFT model in released or Llama layout, or an actor to continue from.
        reward: The reward model.
        reference: The SFT model, if ``actor`` has been trained since. None takes ``actor``.
        critic: Which of the two the critic starts from, ``reward`` (the report's choice) or ``actor``.
        frozen_dtype: Dtype of reference and reward, e.g. ``bfloat16``. None keeps that of the files.

    Raises:
        ValueError: If the critic starts from something else.

    Returns:
        Makers. That of the reward model refuses one whose tokenizer is not the actor's.
    """
    if critic not in get_args(CriticFrom):
        raise ValueError(f"critic={critic} must be one of {', '.join(get_args(CriticFrom))}.")
    dtype = None if frozen_dtype is None else getattr(torch, frozen_dtype)
    return Roles(
        actor=partial(_actor, actor),
        critic=partial(start_critic, reward if critic == "reward" else actor),
        reference=partial(load_model, reference or actor, dtype=dtype),
        reward=partial(_reward, reward, actor, dtype),
    )


def _actor(folder: str | Path) -> LanguageModel:
    # As the Trainer's precision sets it: bfloat16 of the file would lose most of the small steps.
    return load_model(folder, dtype=torch.get_default_dtype())


def _reward(folder: str | Path, actor: str | Path, dtype: torch.dtype | None) -> RewardNetwork:
    with suppress(FileNotFoundError):  # an actor without tokenizer is used with that of the encoder
        load_tokenizer(actor, like=folder)
    net = load_reward(folder)
    return net if dtype is None else net.to(dtype)
