"""Ranks of a run: how they are started and connected, which rows they read, and how they agree on a value."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.utilities.seed import reset_seed
from torch import Tensor

from internlm2_parallel.attempts import fresh_store
from internlm2_parallel.environments import settled
from internlm2_parallel.launcher import RankLauncher, follow_the_first_rank, forget_earlier_job
from internlm2_parallel.layout import Layout, NetShape
from internlm2_parallel.lightning_private import HookedStrategy
from internlm2_parallel.mesh import Ranks

REDUCTIONS = {"max": dist.ReduceOp.MAX, "min": dist.ReduceOp.MIN, "sum": dist.ReduceOp.SUM}


@contextmanager
def refused_port() -> Iterator[None]:
    """A port that another program has is one sentence.

    Raises:
        OSError: If this rank cannot listen on it.
    """
    try:
        yield
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise OSError(
            f"MASTER_PORT={os.environ.get('MASTER_PORT')} is taken by another program of this machine. The ranks need "
            "a free one: set MASTER_PORT to another, or where nothing else does, leave it out."
        ) from error


class RankedStrategy(HookedStrategy):
    """The part of `MeshStrategy` that knows ranks and no network.

    Args:
        layout: Degrees. One may be -1.
        shape: Sizes of the network, to refuse a layout that they do not divide before any process group exists.
        tokens: Length of a row, for the same reason.
        timeout_s: Seconds that a collective may take before the run is given up.
        process_group_backend: None takes gloo on CPU and nccl on GPUs.

    Raises:
        ValueError: If the layout does not fit the world or the network.
    """

    def __init__(
        self,
        layout: Layout,
        shape: NetShape | None,
        tokens: int | None,
        timeout_s: float,
        process_group_backend: str | None,
    ) -> None:
        super().__init__(timeout_s, process_group_backend)
        self.layout, self.shape, self.tokens = layout, shape, tokens
        self._ranks: Ranks | None = None

    def make_launcher(self) -> RankLauncher | None:
        """Settle the layout, which is known from here on, and start the other ranks unless something else does."""
        self.layout = self.layout.settled(self.num_nodes * self.num_processes)
        if self.shape is not None:
            self.layout.check(self.shape, self.tokens)
        assert self.cluster_environment is not None
        forget_earlier_job()
        follow_the_first_rank()
        self.cluster_environment = settled(self.cluster_environment, self.num_processes, self.num_nodes)
        if self.cluster_environment.creates_processes_externally:
            return None
        return RankLauncher(self.cluster_environment, self.num_processes, self.num_nodes)

    def setup_environment(self) -> None:
        """Join the process group and make the meshes."""
        self.set_up_accelerator()
        reset_seed()
        self.set_world_ranks()
        with refused_port():
            self.join_processes(**fresh_store(self.global_rank, self.world_size, self.timeout))
        self._ranks = Ranks.of(self.layout, self.root_device.type)
        self.show_mesh(self._ranks.weights)

    @property
    def ranks(self) -> Ranks:
        """The meshes. They exist once the process group was joined."""
        if self._ranks is None:
            raise RuntimeError("The meshes exist from setup_environment on. Read them in configure_model or later.")
        return self._ranks

    @property
    def data_parallel_rank(self) -> int:
        """Index of this rank among the ranks that read different rows."""
        return self.ranks.data_parallel.get_local_rank()

    @property
    def data_parallel_size(self) -> int:
        """Ranks that read different rows."""
        return self.layout.data_parallel_size

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """Share of the rows of this rank, under the names that Lightning and loaders ask for."""
        return {"num_replicas": self.data_parallel_size, "rank": self.data_parallel_rank}

    @property
    def splits_rows(self) -> bool:
        """Whether a rank sees only a part of the tokens of a row."""
        return self.layout.context != 1

    @property
    def splits_layers(self) -> bool:
        """Whether a rank holds only a part of the matrices or of the blocks."""
        return self.layout.tensor != 1 or self.has_stages

    @property
    def has_stages(self) -> bool:
        """Whether the blocks are spread over ranks. A network then gives losses, and neither logits nor scores."""
        return self.layout.pipeline != 1

    def reduce(self, tensor: Any, group: Any = None, reduce_op: Any = "mean") -> Any:
        """Reduce a value over the ranks that read different rows, or over ``group``.

        Lightning's own would count tensor ranks twice, and puts a barrier before every reduction.

        Args:
            tensor: Value of this rank. Anything but a tensor comes back as it is.
            group: Other ranks to reduce over.
            reduce_op: "mean", "avg", "sum", "max", "min", or an operation of torch.
        """
        if not isinstance(tensor, Tensor):
            return tensor
        group = group or self.ranks.data_parallel.get_group()
        mean = reduce_op in (None, "mean", "avg")
        operation = dist.ReduceOp.SUM if mean else REDUCTIONS.get(reduce_op, reduce_op)
        reduced = tensor.detach().clone()
        dist.all_reduce(reduced, op=operation, group=group)
        return reduced / dist.get_world_size(group) if mean else reduced

    def of_first_peer(self, value: Any) -> Any:
        """The value of the first of the ranks that read the same rows as this one. Collective among them.

        Args:
            value: Of this rank. It can be pickled.
        """
        told = [value]
        for mesh in (self.ranks.tensor, self.ranks.context, self.ranks.pipeline):
            if mesh.size() > 1:
                dist.broadcast_object_list(told, group=mesh.get_group(), group_src=0)
        return told[0]

    def over_stages(self, names: list[str]) -> list[str]:
        """The names of all stages of a pipeline, by rank, given those of this rank. Collective."""
        stages: list[list[str]] = [[] for _ in range(self.layout.pipeline)]
        dist.all_gather_object(stages, names, group=self.ranks.pipeline.get_group())
        return [name for stage in stages for name in stage]

    def reduce_boolean_decision(self, decision: bool, all: bool = True) -> bool:
        """Agree over all ranks of the world."""
        flag = torch.tensor(int(decision), device=self.root_device)
        dist.all_reduce(flag, op=dist.ReduceOp.MIN if all else dist.ReduceOp.MAX)
        return bool(flag)
