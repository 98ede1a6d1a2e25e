"""Networks that are made on the meta device, taken apart there, and filled afterwards with what each rank keeps.

No rank ever holds a whole network: at most one whole weight at a time. The weights are the same under every layout,
since every rank goes through all of them and keeps its part.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from internlm2_parallel.tensor import shard_of

Weights = Callable[[], Iterator[tuple[str, Tensor]]]


def is_deferred(net: nn.Module) -> bool:
    """Whether weights of ``net`` are on the meta device."""
    return any(weight.is_meta for weight in net.parameters())


def weights_for(net: nn.Module) -> Weights | None:
    """What gives the weights of a network on the meta device; None where they are in place.

    Raises:
        ValueError: it does not say, or has buffers; when read, a weight that it has no place for.
    """
    if not is_deferred(net):
        return None
    given: Weights | None = getattr(net, "initial_weights", None)
    if given is None:
        raise ValueError(
            f"{type(net).__name__} was made on the meta device but has no initial_weights() that gives its weights by "
            "name; set strategy.deferred=false, or give it one."
        )
    if buffers := [name for name, buffer in net.named_buffers() if buffer.is_meta]:
        raise ValueError(
            f"{type(net).__name__} has buffers on the meta device, {buffers[0]} among them, and nothing says what they "
            "hold; compute them when they are needed, or set strategy.deferred=false."
        )
    known = {name for name, _ in net.named_parameters()}

    def weights() -> Iterator[tuple[str, Tensor]]:
        for name, whole in given():
            if name not in known:
                raise ValueError(
                    f"a surplus weight {name} {tuple(whole.shape)} is given; {type(net).__name__} has no place for it."
                )
            yield name, whole

    return weights


@torch.no_grad()
def fill_kept(stage: nn.Module, weights: Weights, device: str) -> None:
    """Give the weights of a network or stage that was taken apart their memory and values.

    Args:
        stage: on the meta device.
        weights: of the whole network.
        device: where the kept parts shall be.

    Raises:
        ValueError: a weight is not among them, or has another shape.
    """
    stage.to_empty(device=device)
    kept = dict(stage.named_parameters())
    for name, whole in weights():
        if (weight := kept.pop(name, None)) is None:
            continue
        if weight.shape != whole.shape:
            raise ValueError(
                f"weight {name} is {tuple(weight.shape)} here and {tuple(whole.shape)} where it comes from."
            )
        if isinstance(weight, DTensor):
            weight.to_local().copy_(shard_of(whole.to(device), weight))
        else:
            weight.copy_(whole)
    if kept:
        raise ValueError(f"nothing says how {len(kept)} weights begin, {min(kept)} among them.")
