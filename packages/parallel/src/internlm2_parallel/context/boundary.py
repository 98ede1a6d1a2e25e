"""Where rows are cut into the ranks' tokens, and where results become whole again.

The LightningModule hands whole rows to the network and gets whole results, since hooks cut and join inside:

    net(input_ids, position_ids, labels)     labels are cut, loss sums are added over the ranks
      └ model(input_ids, position_ids)       ids and positions are cut, hidden states are joined,
                                             unless a loss over local tokens follows
"""

from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.utils import _pytree as pytree

from internlm2_parallel.calls import NET, TRUNK, Arguments
from internlm2_parallel.context.attends import ContextAttention, context_attend
from internlm2_parallel.context.collectives import gather, sum_over
from internlm2_parallel.context.documents import Documents, SplitDocuments, joined_order, zigzag


@runtime_checkable
class KnowsDocuments(Protocol):
    """A trunk that can say where the packed documents of its rows begin and end."""

    def segments_of(self, position_ids_BT: Tensor, /) -> Documents:
        """What its attention gets as ``segments``.

        Args:
            position_ids_BT: [B, T] int64, restarting at 0 at each document.
        """


def split_tokens(
    net: nn.Module, mesh: DeviceMesh, attention: ContextAttention, ends_here: bool = True
) -> "TokenBoundary":
    """Make ``net`` compute every row on all context ranks together, in place.

    Args:
        net: Network whose trunk is its child ``model`` (or itself) and whose attentions have a child ``attend``.
        mesh: One-dimensional mesh of the context ranks.
        attention: How queries meet the keys of other ranks.
        ends_here: False for a pipeline stage that is not the last. Its hidden states leave as they are.

    Raises:
        ValueError: If no module is called ``attend``, or the trunk does not know documents.
    """
    children = dict(net.named_children())
    trunk = children.get("model", net)
    owners = [module for module in net.modules() if "attend" in dict(module.named_children())]
    if not owners or not isinstance(trunk, KnowsDocuments):
        lacking = "method segments_of(position_ids)" if owners else "module called attend to replace"
        raise ValueError(f"{type(net).__name__} has no {lacking}. It trains with context=1.")
    group = mesh.get_group()
    for owner in owners:
        owner.attend = context_attend(attention, group, owner.get_submodule("attend"))
    boundary = TokenBoundary(mesh, trunk, always_local=not ends_here)
    trunk.register_forward_pre_hook(boundary.cut_trunk, with_kwargs=True)
    trunk.register_forward_hook(boundary.join_trunk)
    if trunk is not net and ends_here:
        net.register_forward_pre_hook(boundary.cut_labels, with_kwargs=True)
        net.register_forward_hook(boundary.join_losses)
    return boundary


class TokenBoundary:
    """The hooks of one network.

    Args:
        mesh: One-dimensional mesh of the context ranks.
        documents: Says where documents begin and end.
        always_local: Hidden states are never joined.
    """

    def __init__(self, mesh: DeviceMesh, documents: KnowsDocuments, always_local: bool = False) -> None:
        self.documents, self.always_local = documents, always_local
        self.group, self.rank, self.ranks = mesh.get_group(), mesh.get_local_rank(), mesh.size()
        self.with_labels = False

    def tokens_here(self, tokens: int, device: torch.device) -> Tensor:
        """Indices of this rank's tokens."""
        return zigzag(tokens, self.ranks, self.rank, device)

    def cut_trunk(self, trunk: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Ids and positions of the local tokens, and the documents of the whole rows as segments."""
        call = Arguments(TRUNK, args, kwargs)
        if call["cache"] is not None:
            raise ValueError("Generation over a cache needs context=1, since it does not split tokens.")
        call.read_everywhere()
        ids_BT, positions_BT = call["input_ids"], call["position_ids"]
        T = ids_BT.shape[1]
        if positions_BT is None:
            positions_BT = torch.arange(T, device=ids_BT.device).expand_as(ids_BT)
        here, order = self.tokens_here(T, ids_BT.device), joined_order(T, self.ranks, ids_BT.device)
        call["input_ids"], call["position_ids"] = ids_BT[:, here], positions_BT[:, here]
        call.kwargs["segments"] = SplitDocuments(self.documents.segments_of(positions_BT), here, order)
        return tuple(call.args), call.kwargs

    def join_trunk(self, trunk: nn.Module, args: Any, hidden_BLD: Tensor) -> Tensor:
        """Hidden states of whole rows, unless the loss of the local tokens comes next."""
        if self.with_labels or self.always_local:
            return hidden_BLD
        order = joined_order(hidden_BLD.shape[1] * self.ranks, self.ranks, hidden_BLD.device)
        return gather(hidden_BLD, 1, self.group).index_select(1, order)

    def cut_labels(self, net: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Labels of the local tokens."""
        call = Arguments(NET, args, kwargs)
        labels_BT = call["labels"]
        self.with_labels = labels_BT is not None
        if self.with_labels:
            call["labels"] = labels_BT[:, self.tokens_here(labels_BT.shape[1], labels_BT.device)]
        return tuple(call.args), call.kwargs

    def join_losses(self, net: nn.Module, args: Any, output: Any) -> Any:
        """Loss sums over all tokens."""
        if not self.with_labels:
            return output
        self.with_labels = False
        return pytree.tree_map(
            lambda value: sum_over(value, self.group) if isinstance(value, Tensor) else value, output
        )
