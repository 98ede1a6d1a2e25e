"""The folder of an actor: what PPO and its baselines begin with, and what they write."""

from collections.abc import Mapping
from pathlib import Path

import torch
from internlm2_core.checkpoint import save_released
from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text.tokenizer import Tokenizer
from torch import Tensor

from internlm2_align.finite import check_weights


def start_actor(folder: str | Path) -> LanguageModel:
    """The network of a model folder, in torch's default dtype, which the Trainer's precision sets.

    In bfloat16, as many files are, most of the small steps would be lost.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    return load_model(folder, dtype=torch.get_default_dtype())


def save_actor(
    folder: str | Path, net: LanguageModel, tokenizer: Tokenizer, tensors: Mapping[str, Tensor] | None = None
) -> None:
    """Write an actor as a folder in released layout, atomically.

    Args:
        folder: Where. An older model is replaced.
        net: The actor.
        tokenizer: Its file goes along.
        tensors: Whole weights by name, [...] each, where a strategy has gathered them. None takes those of ``net``.

    Raises:
        ValueError: If a weight is not finite.
    """
    tensors = net.state_dict() if tensors is None else tensors
    assert tokenizer.path is not None
    check_weights(tensors, folder)
    save_released(folder, net.size, tensors.items(), tokenizer.path)
