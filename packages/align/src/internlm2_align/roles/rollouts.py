"""What samples while the actor's weights are sharded or split over ranks."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from internlm2_core.generation import Completion, Engine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.shares import CopiesWholeWeights, SharesCopies


class PeersEngine:
    """An engine on ranks that answer the same prompts: all take the answers of the first of them.

    Args:
        engine: Answers on this rank.
        agree: Gives the value of the first of these ranks. Collective among them.
    """

    def __init__(self, engine: Engine, agree: Callable[[list[Completion]], list[Completion]]) -> None:
        self.engine, self.agree = engine, agree

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order.

        Args:
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.
        """
        return self.agree(self.engine.generate(prompts, sampling))


class GroupEngine:
    """An engine over a copy that a group of ranks shares while it answers. Groups do not wait for each other.

    Args:
        make: Makes the engine, given the copy.
        net: The actor.
        strategy: Shares the copy.
        ranks: Of a group.
        lockstep: Keeps the ranks of a group, which is given, in step while they pass a network.
        dtype: Of the copy. None takes that of the weights.
    """

    def __init__(
        self,
        make: Callable[[LanguageModel], Engine],
        net: LanguageModel,
        strategy: SharesCopies,
        ranks: int,
        lockstep: Callable[[LanguageModel, Any], AbstractContextManager[None]],
        dtype: torch.dtype | None = None,
    ) -> None:
        self.make, self.net, self.strategy, self.ranks = make, net, strategy, ranks
        self.lockstep, self.dtype = lockstep, dtype

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]:
        """One completion per prompt, in order. All ranks begin together.

        Args:
            prompts: Token ids of each, at least one.
            sampling: How to choose tokens and when to stop.
        """
        copy = empty_copy(self.net, self.dtype)
        with self.strategy.shared_copy(copy, self.net, self.ranks) as group, self.lockstep(copy, group):
            return self.make(copy).generate(prompts, sampling)


@torch.no_grad()
def whole_copy(net: LanguageModel, strategy: CopiesWholeWeights, dtype: torch.dtype | None = None) -> LanguageModel:
    """A copy of a network with whole weights on this rank. Collective.

    Args:
        net: Sharded or split by the strategy.
        strategy: Gathers the weights, one at a time.
        dtype: Of the copy. None takes that of the weights.
    """
    copy = empty_copy(net, dtype)
    copy.to_empty(device=net.output.weight.device)
    weights = dict(copy.named_parameters())
    for name, whole in strategy.each_whole_weight(net):
        weights.pop(name).copy_(whole)
    assert not weights, weights.keys()
    return copy


def empty_copy(net: LanguageModel, dtype: torch.dtype | None) -> LanguageModel:
    """A network like another one, frozen and on the meta device.

    Args:
        net: The other one.
        dtype: Of the copy. None takes that of the weights.
    """
    with torch.device("meta"):
        return LanguageModel(net.size).to(dtype or net.output.weight.dtype).requires_grad_(False)
