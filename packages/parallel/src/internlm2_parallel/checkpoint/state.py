"""Weights and optimizer state as one flat dictionary of named tensors, and back."""

import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import Optimizer

FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


def weights_of(module: nn.Module) -> dict[str, Any]:
    """Weights by name, still split."""
    return dict(get_model_state_dict(module, options=FLAT))


def optimizers_of(module: nn.Module, optimizers: Sequence[Optimizer]) -> dict[str, Any]:
    """State of each optimizer by weight name, still split.

    Args:
        module: The LightningModule.
        optimizers: Optimizers over its weights.
    """
    states = (get_optimizer_state_dict(module, optimizer, options=FLAT) for optimizer in optimizers)
    return {f"optimizer_{index}": state for index, state in enumerate(states)}


def set_state(module: nn.Module, optimizers: Sequence[Optimizer], state: dict[str, Any]) -> None:
    """Put weights and optimizer state, perhaps from another layout, in place.

    Args:
        module: The LightningModule. Weights that ``state`` lacks stay.
        optimizers: Optimizers over its weights.
        state: ``weights`` and ``optimizer_N``.
    """
    options = StateDictOptions(flatten_optimizer_state_dict=True, strict=False)
    set_model_state_dict(module, state["weights"], options=options)
    for index, optimizer in enumerate(optimizers):
        set_optimizer_state_dict(module, optimizer, optim_state_dict=state[f"optimizer_{index}"], options=FLAT)


def random_state() -> dict[str, Any]:
    """State of the random generators of this process, in tensors and plain types."""
    kind, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    version, words, gauss = random.getstate()
    state = {
        "torch": torch.get_rng_state(),
        "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, cached],
        "python": [version, list(words), gauss],
    }
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the result of `random_state` back."""
    torch.set_rng_state(state["torch"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
