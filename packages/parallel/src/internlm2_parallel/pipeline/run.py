"""One network as a pipeline: what runs when the LightningModule calls it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage
from torch.distributed.tensor import DTensor
from torch.utils import _pytree as pytree

from internlm2_parallel.calls import NET, Arguments
from internlm2_parallel.names import tied
from internlm2_parallel.pipeline.schedule import Pipeline, blocks_of_stages
from internlm2_parallel.pipeline.stages import Arriving, cut, keep_only, refuse_idle


class PipelinedNet:
    """Cuts a network into stages and becomes its forward.

    Args:
        net: Network with the released names whose forward takes input_ids, position_ids and labels. With labels it
            returns the loss sum, or a tuple that begins with it and whose other parts carry no gradient.
        mesh: One-dimensional mesh of the pipeline ranks.
        how: The schedule.
        tokens_split: Ranks that share the tokens of a row (context).
        param_dtype: Dtype of the hidden states between stages. None takes that of the weights.

    Raises:
        ValueError: If there are more stages than blocks, a weight is used in two of them, or a rank would
            train nothing.
    """

    def __init__(
        self,
        net: nn.Module,
        mesh: DeviceMesh,
        how: Pipeline,
        tokens_split: int = 1,
        param_dtype: torch.dtype | None = None,
    ) -> None:
        self.net, self.mesh, self.how, self.tokens_split = net, mesh, how, tokens_split
        for first, second, *_ in tied(net):
            raise ValueError(
                f"{second} is tied to {first}, and pipeline={mesh.size()} would train them apart. They must be two "
                "weights, or pipeline be 1."
            )
        trunk = net.get_submodule("model")
        embedding = trunk.get_submodule("tok_embeddings").weight
        assert isinstance(embedding, Tensor)
        self.dim, self.dtype = embedding.shape[1], param_dtype or embedding.dtype
        self.num_stages = mesh.size() * how.stages_per_rank
        split = blocks_of_stages(len(list(trunk.get_submodule("layers").children())), self.num_stages)
        for rank in range(mesh.size()):
            refuse_idle(net, rank, mesh.size(), *self._part(rank, split))
        self.indices = how.stages_of(mesh.get_local_rank(), mesh.size())
        self.shells = {index: self._shell(index, split[index]) for index in self.indices}
        keep_only(net, *self._part(mesh.get_local_rank(), split))
        self.last_rank = next(r for r in range(mesh.size()) if self.num_stages - 1 in how.stages_of(r, mesh.size()))
        self.structure: Any = None
        self.schedules: dict[tuple[int, int, torch.device], Any] = {}
        net.forward = self.forward  # type: ignore[method-assign]

    def _part(self, rank: int, split: Sequence[range]) -> tuple[list[int], bool, bool]:
        """The blocks of a rank, and whether it has the first and the last stage."""
        indices = self.how.stages_of(rank, self.mesh.size())
        blocks = [block for index in indices for block in split[index]]
        return blocks, 0 in indices, self.num_stages - 1 in indices

    def _shell(self, index: int, blocks: range) -> nn.Module:
        shell = cut(self.net, blocks, index == 0, index == self.num_stages - 1)
        run = self._run_last if index == self.num_stages - 1 else self._run_inner
        shell.forward = partial(run, shell)  # type: ignore[method-assign]
        return shell

    # ---- what a stage computes

    def _run_inner(self, shell: nn.Module, x: Tensor, position_ids: Tensor, labels: Tensor) -> Tensor:
        trunk = shell.get_submodule("model")
        return _with_hidden(shell, x, position_ids, lambda ids: trunk(ids, position_ids))

    def _run_last(self, shell: nn.Module, x: Tensor, position_ids: Tensor, labels: Tensor) -> Tensor:
        def losses(ids: Tensor) -> Any:
            return type(shell).forward(shell, ids, position_ids, labels)

        leaves, self.structure = pytree.tree_flatten(_with_hidden(shell, x, position_ids, losses))
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in leaves[1:]):
            raise ValueError(
                f"pipeline={self.mesh.size()} carries the gradient of one loss alone. Other losses, such as the z-loss "
                "(z_loss), need pipeline=1."
            )
        loss = leaves[0]
        return (loss.full_tensor() if isinstance(loss, DTensor) else loss).reshape(1)

    # ---- what the LightningModule calls

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Loss sums of a batch, on every rank. In training its gradient is already computed.

        Raises:
            ValueError: If there are no labels (a pipeline gives losses, not logits), or rows do not divide.
        """
        call = Arguments(NET, args, kwargs)
        ids, positions, labels = call["input_ids"], call["position_ids"], call["labels"]
        if ids is None or labels is None:
            raise ValueError(f"pipeline={self.mesh.size()} gives losses and no logits. It needs labels, or pipeline=1.")
        if len(ids) % self.how.micro_batches:
            raise ValueError(
                f"{len(ids)} rows of a rank must divide into micro_batches={self.how.micro_batches} pieces."
            )
        if positions is None:
            positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        batch = (ids, positions, labels)
        if not torch.is_grad_enabled():
            return self._structured(self._losses(batch, train=False))
        anchor = torch.zeros((), device=ids.device, requires_grad=True)
        return self._structured(_ScheduledLoss.apply(anchor, self, batch))

    def _losses(self, batch: tuple[Tensor, Tensor, Tensor], train: bool) -> Tensor:
        """Run the schedule. The loss sum over all micro-batches comes back on every rank."""
        ids, positions, labels = batch
        schedule = self._schedule(ids)
        run = schedule.step if train else schedule.eval
        args = (ids,) if 0 in self.indices else ()
        has_last = self.num_stages - 1 in self.indices
        out = run(*args, target=labels if has_last else None, position_ids=positions, labels=labels)
        # fp32 on every rank, whatever the default dtype of the run is.
        total = out.detach().float().sum() if has_last else torch.zeros((), dtype=torch.float32, device=ids.device)
        dist.broadcast(total, group=self.mesh.get_group(), group_src=self.last_rank)
        return total

    def _schedule(self, ids: Tensor) -> Any:
        """The schedule for batches of this shape."""
        key = (ids.shape[0], ids.shape[1], ids.device)
        if key not in self.schedules:
            rows, tokens = ids.shape[0] // self.how.micro_batches, ids.shape[1]
            stages = [self._stage(index, rows, tokens, ids.device) for index in self.indices]
            self.schedules[key] = self.how.make(stages, lambda output, target: output.sum())
        return self.schedules[key]

    def _stage(self, index: int, rows: int, tokens: int, device: torch.device) -> PipelineStage:
        hidden = torch.empty(
            rows, tokens // self.tokens_split, self.dim, dtype=self.dtype, device="meta", requires_grad=True
        )
        ids = torch.empty(rows, tokens, dtype=torch.int64, device="meta")
        loss = torch.empty(1, dtype=torch.float32, device="meta", requires_grad=True)
        return PipelineStage(
            self.shells[index],
            index,
            self.num_stages,
            device,
            input_args=(ids if index == 0 else hidden,),
            output_args=(loss if index == self.num_stages - 1 else hidden,),
            group=self.mesh.get_group(),
        )

    def _structured(self, loss: Tensor) -> Any:
        """The loss in the shape of what the network returns. The last stage tells the others once."""
        if not hasattr(self, "_template"):
            told = [self.structure]
            dist.broadcast_object_list(told, group=self.mesh.get_group(), group_src=self.last_rank)
            self._template = told[0]
        others = [loss.detach() * 0 for _ in range(self._template.num_leaves - 1)]
        return pytree.tree_unflatten([loss, *others], self._template)


class _ScheduledLoss(torch.autograd.Function):
    """Loss sum whose gradients the schedule has computed: backward scales them by the gradient that arrives."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, pipelined: PipelinedNet, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        weights = [weight for weight in pipelined.net.parameters() if weight.requires_grad]
        earlier = [weight.grad for weight in weights]
        for weight in weights:
            weight.grad = None
        with torch.enable_grad():
            loss = pipelined._losses(batch, train=True)
        ctx.fresh = [(weight, weight.grad) for weight in weights]
        for weight, before in zip(weights, earlier, strict=True):
            weight.grad = before
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        scale = grads[0]
        for weight, fresh in ctx.fresh:
            if fresh is None:
                continue
            (fresh.to_local() if isinstance(fresh, DTensor) else fresh).mul_(scale)
            # What is there now, and not what was there at the forward pass: gradients may be zeroed in between.
            weight.grad = fresh if weight.grad is None else weight.grad.add_(fresh)
        return torch.zeros_like(scale), None, None


def _with_hidden(shell: nn.Module, x: Tensor, position_ids: Tensor, compute: Callable[[Tensor], Any]) -> Any:
    """Compute from ids in the first stage. Elsewhere ``x`` arrives in place of the embedding."""
    door = shell.get_submodule("model").get_submodule("tok_embeddings")
    if not isinstance(door, Arriving):
        return compute(x)
    door.hidden = x
    try:
        return compute(position_ids)
    finally:
        door.hidden = None
