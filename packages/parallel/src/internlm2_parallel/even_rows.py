"""Rows of any length under sequence parallelism, which splits their tokens evenly: filled up, computed, and cut again.

A packed row has as many tokens as its documents. Those that fill it up are a document of their own after all others.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from internlm2_parallel.calls import TRUNK, Arguments


class KnowsLengths(Protocol):
    """What attention is told of a row."""

    @property
    def lengths_of_tokens(self) -> Tensor:
        """Tokens of the document that each token is in, [B, T] int64."""


@dataclass(frozen=True)
class Filled:
    """What attention is told of a row that was filled up.

    Attributes:
        given: What it is told of the row as it was.
        tokens: Tokens of that row.
        surplus: Tokens that were added.
    """

    given: KnowsLengths
    tokens: int
    surplus: int

    @property
    def lengths_of_tokens(self) -> Tensor:
        """Those of the row, and that of what was added, [B, T + surplus] int64."""
        return F.pad(self.given.lengths_of_tokens, (0, self.surplus), value=self.surplus)


class AttendWithin(nn.Module):
    """Attention to the row as it was, around another back end.

    Args:
        attend: Called ``attend(q_BTNH, k_BTGH, v_BTGH, segments)``.
    """

    def __init__(self, attend: nn.Module) -> None:
        super().__init__()
        self.attend = attend

    def forward(self, q_BTNH: Tensor, k_BTGH: Tensor, v_BTGH: Tensor, segments: Any) -> Tensor:
        """Mixed values, [B, T, N, H], with zeros for what was added."""
        if not isinstance(segments, Filled):
            return self.attend(q_BTNH, k_BTGH, v_BTGH, segments)
        q, k, v = (x[:, : segments.tokens] for x in (q_BTNH, k_BTGH, v_BTGH))
        mixed_BTNH: Tensor = self.attend(q, k, v, segments.given)
        return F.pad(mixed_BTNH, (0, 0, 0, 0, 0, segments.surplus))


class EvenRows:
    """The hooks of one network.

    Args:
        net: Network whose trunk is its child ``model`` (or itself) and whose attentions have a child ``attend``.
        ranks: Tensor ranks, over which tokens are split.
    """

    def __init__(self, net: nn.Module, ranks: int) -> None:
        self.ranks, self.tokens = ranks, 0
        trunk = dict(net.named_children()).get("model", net)
        for owner in [module for module in net.modules() if "attend" in dict(module.named_children())]:
            owner.attend = AttendWithin(owner.get_submodule("attend"))
        trunk.register_forward_pre_hook(self.fill, with_kwargs=True)
        trunk.register_forward_hook(self.cut)

    def fill(self, trunk: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Ids and positions of a row that divides.

        Raises:
            ValueError: If there is a cache, to which no token may be added.
        """
        call = Arguments(TRUNK, args, kwargs)
        if call["cache"] is not None:
            raise ValueError(
                "Generation over a cache adds one token at a time, which sequence_parallel=True cannot split. It needs "
                "whole copies of the weights, or sequence_parallel=False."
            )
        ids_BT, positions_BT = call["input_ids"], call["position_ids"]
        call.read_everywhere()
        self.tokens = ids_BT.shape[1]
        if not (surplus := -self.tokens % self.ranks):
            return tuple(call.args), call.kwargs
        call["input_ids"] = F.pad(ids_BT, (0, surplus))
        if positions_BT is not None:
            added_BS = torch.arange(surplus, device=ids_BT.device).expand(len(ids_BT), surplus)
            call["position_ids"] = torch.cat((positions_BT, added_BS), dim=1)
        if (segments := call.kwargs.get("segments")) is not None:
            call.kwargs["segments"] = Filled(segments, self.tokens, surplus)
        return tuple(call.args), call.kwargs

    def cut(self, trunk: nn.Module, args: Any, hidden_BTD: Tensor) -> Tensor:
        """Hidden states of the row as it was."""
        return hidden_BTD[:, : self.tokens]
