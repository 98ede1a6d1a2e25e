"""All four models in the processes of one run. Where a strategy shards or splits them, each rank holds its part."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import torch
from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text import load_tokenizer

from internlm2_align.actors import start_actor
from internlm2_align.ppo.critic import start_critic
from internlm2_align.reward.network import RewardNetwork, load_reward

CriticFrom = Literal["reward", "actor"]
SampleWith = Literal["copies", "groups", "shards"]
FROZEN = ("reference", "reward")


@dataclass(frozen=True)
class Roles:
    """Makers of the four models. Each is called once, when the strategy is ready for it.

    Attributes:
        actor: The policy in training.
        critic: Estimates what is still to come.
        reference: What the actor is held close to.
        reward: Scores whole responses.
        sample_with: What samples where the actor's weights are sharded or split over ranks. ``copies``: each rank
            gathers a whole copy before sampling and drops it afterwards. ``groups``: so does each group of
            ``group_size`` neighbouring ranks, each of which holds a part. A token waits for the ranks of its group.
            ``shards``: the weights as they are. Each token waits for all ranks.
        group_size: Ranks that share a copy under ``groups``, best those of a machine. 0 otherwise.
        copy_dtype: Dtype of the copies. None takes that of the actor's weights.
        offloaded: Frozen models (``reference``, ``reward``) that wait in host memory while they are not needed.
        apart: Trained models that are in processes of their own.

    Raises:
        ValueError: If ``sample_with`` or ``offloaded`` names what there is not, or ``group_size`` does not fit.
    """

    actor: Callable[[], LanguageModel]
    critic: Callable[[], RewardNetwork]
    reference: Callable[[], LanguageModel]
    reward: Callable[[], RewardNetwork]
    sample_with: SampleWith = "copies"
    group_size: int = 0
    copy_dtype: str | None = None
    offloaded: Sequence[str] = ()
    apart: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.sample_with not in get_args(SampleWith):
            raise ValueError(f"sample_with={self.sample_with!r} must be one of {', '.join(get_args(SampleWith))}.")
        if (self.group_size > 1) != (self.sample_with == "groups") or self.group_size < 0:
            raise ValueError(
                f"group_size={self.group_size} must be 2 or more with sample_with=groups, and 0 with any other."
            )
        if trained := set(self.offloaded) - set(FROZEN):
            raise ValueError(f"offloaded={sorted(trained)} must be among the frozen models, {' and '.join(FROZEN)}.")
        dtype_of(self.copy_dtype, "copy_dtype")


def local_roles(
    actor: str | Path,
    reward: str | Path,
    reference: str | Path | None = None,
    critic: CriticFrom = "reward",
    reference_dtype: str | None = None,
    reward_dtype: str | None = None,
    sample_with: SampleWith = "copies",
    group_size: int = 0,
    copy_dtype: str | None = None,
    offloaded: Sequence[str] = (),
) -> Roles:
    """Roles from two folders. Actor and critic have the dtype that the Trainer's precision sets.

    Args:
        actor: The SFT model in released or Llama layout, or an actor to continue from.
        reward: The reward model.
        reference: The SFT model, if ``actor`` has been trained since. None takes ``actor``.
        critic: Which of the two the critic starts from, ``reward`` (the report's choice) or ``actor``.
        reference_dtype: Dtype of the reference, e.g. ``bfloat16``. None keeps that of the files.
        reward_dtype: Dtype of the reward model. None keeps that of the files.
        sample_with: See `Roles`.
        group_size: See `Roles`.
        copy_dtype: See `Roles`.
        offloaded: See `Roles`.

    Returns:
        Makers. That of the reward model refuses one whose tokenizer is not the actor's.

    Raises:
        ValueError: If a dtype is not one of torch's floating-point ones, or ``critic`` names something else.
    """
    if critic not in get_args(CriticFrom):
        raise ValueError(f"critic={critic} must be one of {', '.join(get_args(CriticFrom))}.")
    return Roles(
        actor=partial(start_actor, actor),
        critic=partial(start_critic, reward if critic == "reward" else actor),
        reference=partial(load_model, reference or actor, dtype=dtype_of(reference_dtype, "reference_dtype")),
        reward=partial(_reward, reward, actor, dtype_of(reward_dtype, "reward_dtype")),
        sample_with=sample_with,
        group_size=group_size,
        copy_dtype=copy_dtype,
        offloaded=tuple(offloaded),
    )


def dtype_of(name: str | None, argument: str) -> torch.dtype | None:
    """A floating-point dtype by its name in torch.

    Args:
        name: ``bfloat16``, for one. None gives None.
        argument: What it was given as.

    Raises:
        ValueError: If torch has no such dtype.
    """
    if name is None:
        return None
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise ValueError(f"{argument}={name!r} must be a floating-point dtype such as bfloat16 or float32.")
    return dtype


def _reward(folder: str | Path, actor: str | Path, dtype: torch.dtype | None) -> RewardNetwork:
    with suppress(FileNotFoundError):  # an actor without tokenizer is used with that of the encoder
        load_tokenizer(actor, like=folder)
    net = load_reward(folder)
    return net if dtype is None else net.to(dtype)
