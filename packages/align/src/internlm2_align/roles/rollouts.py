"""What samples while the actor's weights are sharded or split over ranks."""

from collections.abc import Callable, Sequence

import torch
from internlm2_core.generation import Completion, Engine, Sampling
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.shares import CopiesWholeWeights


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


@torch.no_grad()
def whole_copy(net: LanguageModel, strategy: CopiesWholeWeights, dtype: torch.dtype | None = None) -> LanguageModel:
    """A copy of a network with whole weights on this rank. Collective.

    Args:
        net: Sharded or split by the strategy.
        strategy: Gathers the weights, one at a time.
        dtype: Of the copy. None takes that of the weights.
    """
    like = net.output.weight
    with torch.device("meta"):
        copy = LanguageModel(net.size).to(dtype or like.dtype)
    copy.to_empty(device=like.device).requires_grad_(False)
    weights = dict(copy.named_parameters())
    for name, whole in strategy.each_whole_weight(net):
        weights.pop(name).copy_(whole)
    assert not weights, weights.keys()
    return copy
