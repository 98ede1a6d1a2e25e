"""Where rows are cut into the ranks' tokens, and where results become whole again.

The LightningModule hands whole rows to the network and gets whole results: the cut happens inside, by hooks.

    net(input_ids, position_ids, labels)     labels are cut; loss sums are added over the ranks
      └ model(input_ids, position_ids)       ids and positions are cut; hidden states are joined,
                                             unless a loss over local tokens follows
"""

import inspect
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.utils import _pytree as pytree

from internlm2_parallel.context.attends import ContextAttention, context_attend
from internlm2_parallel.context.collectives import gather, sum_over
from internlm2_parallel.context.documents import Documents, SplitDocuments, joined_order, zigzag


def split_tokens(
    net: nn.Module, mesh: DeviceMesh, attention: ContextAttention, ends_here: bool = True
) -> "TokenBoundary":
    """Make ``net`` compute every row on all context ranks together, in place.

    Args:
        net: network whose trunk is its child ``model`` (or itself) and whose attentions have a child ``attend``.
        mesh: one-dimensional mesh of the context ranks.
        attention: how queries meet the keys of other ranks.
        ends_here: False for a pipeline stage that is not the last: its hidden states go on as they are.

    Raises:
        ValueError: no module called ``attend``.
    """
    owners = [module for module in net.modules() if isinstance(getattr(module, "attend", None), nn.Module)]
    if not owners:
        raise ValueError(f"{type(net).__name__} has no module called attend to replace; set layout.context=1.")
    group = mesh.get_group()
    for owner in owners:
        owner.attend = context_attend(attention, group, owner.get_submodule("attend"))
    boundary = TokenBoundary(mesh, always_local=not ends_here)
    trunk = getattr(net, "model", net)
    trunk.register_forward_pre_hook(boundary.cut_trunk, with_kwargs=True)
    trunk.register_forward_hook(boundary.join_trunk)
    if trunk is not net and ends_here:
        net.register_forward_pre_hook(boundary.cut_labels, with_kwargs=True)
        net.register_forward_hook(boundary.join_losses)
    return boundary


class TokenBoundary:
    """The hooks of one network.

    Args:
        mesh: one-dimensional mesh of the context ranks.
        always_local: hidden states are never joined.
    """

    def __init__(self, mesh: DeviceMesh, always_local: bool = False) -> None:
        self.always_local = always_local
        self.group, self.rank, self.ranks = mesh.get_group(), mesh.get_local_rank(), mesh.size()
        self.with_labels = False

    def tokens_here(self, tokens: int, device: torch.device) -> Tensor:
        """Indices of this rank's tokens."""
        return zigzag(tokens, self.ranks, self.rank, device)

    def cut_trunk(self, trunk: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Ids and positions of the local tokens, and the documents of the whole rows as segments."""
        call = inspect.signature(trunk.forward).bind(*args, **kwargs).arguments
        ids, positions = _named(call, "input_ids"), _named(call, "position_ids")
        if call.get("cache") is not None:
            raise ValueError(
                "generation over a cache does not split tokens; run it under a layout with layout.context=1."
            )
        ids_BT = call[ids]
        T = ids_BT.shape[1]
        positions_BT = call.get(positions)
        if positions_BT is None:
            positions_BT = torch.arange(T, device=ids_BT.device).expand(ids_BT.shape[0], T)
        here, order = self.tokens_here(T, ids_BT.device), joined_order(T, self.ranks, ids_BT.device)
        call[ids], call[positions] = ids_BT[:, here], positions_BT[:, here]
        call["segments"] = SplitDocuments(Documents.of_positions(positions_BT), here, order)
        return (), call

    def join_trunk(self, trunk: nn.Module, args: Any, hidden_BLD: Tensor) -> Tensor:
        """Hidden states of whole rows, unless the loss of the local tokens comes next."""
        if self.with_labels or self.always_local:
            return hidden_BLD
        order = joined_order(hidden_BLD.shape[1] * self.ranks, self.ranks, hidden_BLD.device)
        return gather(hidden_BLD, 1, self.group).index_select(1, order)

    def cut_labels(self, net: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Labels of the local tokens."""
        call = inspect.signature(net.forward).bind(*args, **kwargs).arguments
        name = _named(call, "labels", default="")
        self.with_labels = call.get(name) is not None
        if not self.with_labels:
            return None
        labels_BT = call[name]
        call[name] = labels_BT[:, self.tokens_here(labels_BT.shape[1], labels_BT.device)]
        return (), call

    def join_losses(self, net: nn.Module, args: Any, output: Any) -> Any:
        """Loss sums over all tokens."""
        if not self.with_labels:
            return output
        self.with_labels = False
        return pytree.tree_map(
            lambda value: sum_over(value, self.group) if isinstance(value, Tensor) else value, output
        )


def _named(call: dict[str, Any], stem: str, default: str | None = None) -> str:
    """The argument's full name; a shape suffix may follow the stem."""
    found = next((name for name in call if name == stem or name.startswith(f"{stem}_")), default)
    if found is None:
        raise ValueError(f"the network was called without {stem}; context parallelism needs it, or layout.context=1.")
    return found
