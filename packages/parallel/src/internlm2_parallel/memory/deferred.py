"""Networks that are made on the meta device, split there, and filled afterwards with what each rank keeps.

No rank ever holds a whole network: at most one whole weight at a time. The weights are the same under every layout,
since every rank reads all of them and keeps its part.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from internlm2_parallel.names import named_weights
from internlm2_parallel.tensor import shard_of

Weights = Callable[[], Iterator[tuple[str, Tensor]]]


@runtime_checkable
class SaysItsWeights(Protocol):
    """A network that says what its weights shall be while they are on the meta device.

    Attributes:
        initial_weights: Gives names and whole weights. None where the weights are in place.
    """

    initial_weights: Weights | None


def is_deferred(net: nn.Module) -> bool:
    """Whether weights of ``net`` are on the meta device."""
    return any(weight.is_meta for weight in net.parameters())


def weights_for(net: nn.Module) -> Weights | None:
    """What gives the weights of a network on the meta device. None where they are in place.

    Raises:
        ValueError: If it does not say, or has buffers. When read, if a weight comes that it has no place for.
    """
    if not is_deferred(net):
        return None
    given = cast(SaysItsWeights, net).initial_weights if isinstance(net, SaysItsWeights) else None
    if given is None:
        raise ValueError(
            f"{type(net).__name__} was made on the meta device but has no initial_weights() that gives its weights by "
            "name. It needs one, or deferred=False."
        )
    if buffers := [name for name, buffer in net.named_buffers() if buffer.is_meta]:
        raise ValueError(
            f"{type(net).__name__} has buffers on the meta device, {buffers[0]} among them, and nothing says what they "
            "hold. Compute them when they are needed, or use deferred=False."
        )
    known = {name for name, _ in named_weights(net)}

    def weights() -> Iterator[tuple[str, Tensor]]:
        for name, whole in given():
            if name not in known:
                raise ValueError(
                    f"{type(net).__name__} has no place for the surplus weight {name} {tuple(whole.shape)}."
                )
            yield name, whole

    return weights


@torch.no_grad()
def fill_kept(stage: nn.Module, weights: Weights, device: str) -> None:
    """Give the weights of a split network or stage their memory and values.

    Args:
        stage: On the meta device.
        weights: Those of the whole network.
        device: Where the kept parts shall be.

    Raises:
        ValueError: If a weight is not among them, or has another shape.
    """
    stage.to_empty(device=device)
    kept = dict(named_weights(stage))
    for name, whole in weights():
        if (weight := kept.pop(name, None)) is None:
            continue
        if weight.shape != whole.shape:
            raise ValueError(
                f"Weight {name} is {tuple(weight.shape)} here and {tuple(whole.shape)} where it comes from."
            )
        if isinstance(weight, DTensor):
            weight.to_local().copy_(shard_of(whole.to(device), weight))
        else:
            weight.copy_(whole)
    if kept:
        raise ValueError(f"Nothing says how {len(kept)} weights begin, {min(kept)} among them.")
