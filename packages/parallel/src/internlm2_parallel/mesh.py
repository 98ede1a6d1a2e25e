"""Two views of the same ranks, and the groups that come out of them.

    weights   pipeline x replicate x shard*context x tensor      where weights, gradients and optimizer state live
    data      pipeline x replicate*shard x context x tensor      who reads which rows and which tokens of them

Context ranks see different tokens of the same rows, so for a weight they are like more shards: gradients are averaged
over them with the shards.
"""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from internlm2_parallel.layout import Layout


@dataclass(frozen=True, eq=False)
class Ranks:
    """The device meshes of a settled layout.

    Attributes:
        layout: The settled layout.
        weights: Mesh (pipeline, replicate, shard, tensor). Its shard axis holds the context ranks too.
        data: Mesh (pipeline, data, context, tensor).
    """

    layout: Layout
    weights: DeviceMesh
    data: DeviceMesh

    @classmethod
    def of(cls, layout: Layout, device_type: str) -> "Ranks":
        """Make the meshes. Collective: every rank must call it.

        Args:
            layout: Settled for the current world size.
            device_type: "cpu" or "cuda".
        """
        weights = (layout.pipeline, layout.replicate, layout.shard * layout.context, layout.tensor)
        data = (layout.pipeline, layout.data_parallel_size, layout.context, layout.tensor)
        return cls(
            layout,
            init_device_mesh(device_type, weights, mesh_dim_names=("pipeline", "replicate", "shard", "tensor")),
            init_device_mesh(device_type, data, mesh_dim_names=("pipeline", "data", "context", "tensor")),
        )

    @property
    def tensor(self) -> DeviceMesh:
        """Ranks that share every matrix."""
        return self.weights["tensor"]

    @property
    def context(self) -> DeviceMesh:
        """Ranks that share the tokens of a row."""
        return self.data["context"]

    @property
    def pipeline(self) -> DeviceMesh:
        """Ranks that hold the other blocks."""
        return self.data["pipeline"]

    @property
    def data_parallel(self) -> DeviceMesh:
        """Ranks that read other rows."""
        return self.data["data"]


def all_reduce_over(
    value: torch.Tensor, mesh: DeviceMesh, op: dist.ReduceOp.RedOpType = dist.ReduceOp.SUM
) -> torch.Tensor:
    """Reduce a copy of ``value`` over a one-dimensional mesh. A mesh of one rank gives ``value`` itself.

    Args:
        value: [*] of any shape, or a scalar.
        mesh: The ranks.
        op: What is done with the values.
    """
    if mesh.size() == 1:
        return value
    reduced = value.detach().clone()
    dist.all_reduce(reduced, op=op, group=mesh.get_group())
    return reduced
