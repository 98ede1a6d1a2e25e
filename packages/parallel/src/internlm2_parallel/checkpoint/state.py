"""Weights and optimizer state as one flat dictionary of named tensors, and back."""

import random
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from types import MappingProxyType
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

from internlm2_parallel.names import named_weights

MOMENTS = "state."
"""What names of moments begin with in the flat state of an optimizer."""

NOTHING: Mapping[str, Mapping[str, Any]] = MappingProxyType({})

FLAT = StateDictOptions(flatten_optimizer_state_dict=True)


def weights_of(module: nn.Module) -> dict[str, Any]:
    """Weights by name, still split."""
    return dict(get_model_state_dict(module, options=FLAT))


def optimizers_of(module: nn.Module, optimizers: Sequence[Optimizer], makes_moments: bool = False) -> dict[str, Any]:
    """State of each optimizer by weight name, still split.

    Args:
        module: The LightningModule.
        optimizers: Optimizers over its weights.
        makes_moments: Make those of an optimizer that has taken no step, to read into them.
    """
    found: dict[str, Any] = {}
    for index, optimizer in enumerate(optimizers):
        with without_empty_groups(optimizer), nullcontext() if makes_moments else without_a_step(optimizer):
            found[f"optimizer_{index}"] = get_optimizer_state_dict(module, optimizer, options=FLAT)
    return found


@contextmanager
def without_empty_groups(optimizer: Optimizer) -> Iterator[None]:
    """Inside, an optimizer has no groups without weights, as a stage may have them. torch reads a group by a weight."""
    every = optimizer.param_groups
    optimizer.param_groups = [group for group in every if group["params"]]
    try:
        yield
    finally:
        filled = iter(optimizer.param_groups)  # Others, where a state was set.
        optimizer.param_groups = [next(filled) if group["params"] else group for group in every]


@contextmanager
def without_a_step(optimizer: Optimizer) -> Iterator[None]:
    """Inside, torch does not step an optimizer without moments to get some, which would count as a step ever after.

    It does so where no weight has a gradient.
    """
    weight = next(weight for group in optimizer.param_groups for weight in group["params"])
    lends = not optimizer.state and weight.grad is None
    if lends:
        weight.grad = torch.zeros_like(weight)
    try:
        yield
    finally:
        if lends:
            weight.grad = None


def take_moments_that_lack(state: dict[str, Any], stored: Collection[str]) -> dict[str, dict[str, Any]]:
    """Take the moments out of a state that a checkpoint does not have, as one that was saved before the first step.

    Args:
        state: ``weights`` and ``optimizer_N``. It is changed.
        stored: Names in the checkpoint.

    Returns:
        What was taken out, by ``optimizer_N``.
    """
    taken: dict[str, dict[str, Any]] = {}
    for part in state.keys() - {"weights"}:
        lacking = [name for name in state[part] if name.startswith(MOMENTS) and f"{part}.{name}" not in stored]
        taken[part] = {name: state[part].pop(name) for name in lacking}
    return taken


def set_state(
    module: nn.Module,
    optimizers: Sequence[Optimizer],
    state: dict[str, Any],
    fresh: Mapping[str, Mapping[str, Any]] = NOTHING,
) -> None:
    """Put weights and optimizer state, perhaps from another layout, in place.

    Args:
        module: The LightningModule. Weights that ``state`` lacks stay.
        optimizers: Optimizers over its weights.
        state: ``weights`` and ``optimizer_N``.
        fresh: Moments that ``state`` lacks, by ``optimizer_N``. Their weights begin without any.
    """
    options = StateDictOptions(flatten_optimizer_state_dict=True, strict=False)
    set_model_state_dict(module, state["weights"], options=options)
    for index, optimizer in enumerate(optimizers):
        part = f"optimizer_{index}"
        lacking = fresh.get(part, {})
        with without_empty_groups(optimizer):
            set_optimizer_state_dict(module, optimizer, optim_state_dict={**state[part], **lacking}, options=FLAT)
        without = {name.removeprefix(MOMENTS).rpartition(".")[0] for name in lacking}
        for name, weight in named_weights(module):
            if name in without:
                optimizer.state.pop(weight, None)


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
