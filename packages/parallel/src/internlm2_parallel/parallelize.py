"""The one place that fixes the order in which a network is split.

First pipeline stages. Then in each: tensor (and sequence) -> context -> shard -> fill (if deferred). Recomputation and
compilation of blocks come before, when the module makes its network in ``configure_model``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import nn

from internlm2_parallel.context import ContextAttention, split_tokens
from internlm2_parallel.even_rows import EvenRows
from internlm2_parallel.memory import Weights, fill_kept, weights_for
from internlm2_parallel.mesh import Ranks
from internlm2_parallel.names import blocks_of, is_compiled
from internlm2_parallel.pipeline import Pipeline, PipelinedNet
from internlm2_parallel.plan import TensorPlan, llama_plan
from internlm2_parallel.tensor import split_matrices
from internlm2_parallel.zero import Sharding, shard_state

DTYPES = {None: None, "bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Treatment:
    """What is done to each network, beside the degrees of the layout.

    Attributes:
        sharding: Extents of the state.
        plan: Tensor-parallel patterns. None takes those of the released names.
        sub_group: Ranks that keep gathered weights where ``parameters`` is partial under a full optimizer.
        context: Attention where the tokens of a row are split over ranks.
        pipeline: Schedule of the pipeline, where the layout has one.
        param_dtype: Dtype of computation under sharding ("bfloat16", with weights, gradients and moments in fp32). None
            keeps that of the weights. Where no weights are gathered, the Trainer's ``precision`` does this.

    Raises:
        ValueError: If the dtype is unknown.
    """

    sharding: Sharding = field(default_factory=Sharding)
    plan: TensorPlan | None = None
    sub_group: int = 0
    context: ContextAttention = "gather"
    pipeline: Pipeline = field(default_factory=Pipeline)
    param_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.param_dtype not in DTYPES:
            names = ", ".join(name for name in DTYPES if name)
            raise ValueError(f"param_dtype={self.param_dtype!r} must be one of {names}, or None.")

    @property
    def dtype(self) -> torch.dtype | None:
        """``param_dtype`` as torch's."""
        return DTYPES[self.param_dtype]


def parallelize(net: nn.Module, ranks: Ranks, how: Treatment) -> None:
    """Split ``net`` in place.

    Args:
        net: A network with the released names, in place or on the meta device. From there its ``initial_weights()``
            gives whole weights by name, and each rank keeps its part.
        ranks: The meshes of the layout.
        how: Everything that is not a degree.

    Raises:
        ValueError: If the treatment does not fit the layout or the network's names.
    """
    if is_compiled(net) and ranks.layout.ranks > 1:
        raise ValueError(
            f"compile='net' does not work with layout {ranks.layout}, whose hooks run between the parts of a network. "
            "It must be 'blocks' or 'none'."
        )
    weights = weights_for(net)
    if ranks.layout.pipeline == 1:
        _parallelize_stage(net, ranks, how, weights)
        return
    pipelined = PipelinedNet(net, ranks.pipeline, how.pipeline, ranks.layout.context, how.dtype)
    for index, stage in pipelined.shells.items():
        _parallelize_stage(stage, ranks, how, weights, is_last=index == pipelined.num_stages - 1)


def _parallelize_stage(
    stage: nn.Module, ranks: Ranks, how: Treatment, weights: Weights | None, is_last: bool = True
) -> None:
    """Everything but the pipeline.

    Raises:
        ValueError: If blocks are compiled and their matrices are to be split.
    """
    layout = ranks.layout
    if layout.tensor > 1:
        if any(is_compiled(block) for block in blocks_of(stage)):
            raise ValueError(
                f"compile='blocks' does not work with tensor={layout.tensor} ranks, since torch.compile loses the "
                "DTensors of split matrices in its backward pass. It must be 'none', or tensor 1."
            )
        split_matrices(stage, ranks.tensor, how.plan or llama_plan(layout.sequence_parallel))
    if layout.sequence_parallel and layout.context == layout.pipeline == 1:
        EvenRows(stage, layout.tensor)
    if layout.context > 1:
        split_tokens(stage, ranks.context, how.context, ends_here=is_last)
    shard_state(stage, ranks, how.sharding, sub_group=how.sub_group, param_dtype=how.dtype)
    if weights is not None:
        fill_kept(stage, weights, ranks.weights.device_type)


def keep_whole(module: nn.Module, nets: Sequence[str], ranks: int, device: str) -> None:
    """Fill the networks of a module that are not split, and stay whole on each rank.

    Args:
        module: The LightningModule.
        nets: Names of the networks that are split.
        ranks: Ranks of the layout.
        device: Where networks on the meta device shall be.

    Raises:
        ValueError: If one of them is trained.
    """
    for name, other in module.named_children():
        if name in nets:
            continue
        if ranks > 1 and any(weight.requires_grad for weight in other.parameters()):
            raise ValueError(
                f"{name} of {type(module).__name__} is trained, and ranks would train it apart. nets must name it "
                f"beside {', '.join(nets)}."
            )
        if (weights := weights_for(other)) is not None:
            fill_kept(other, weights, device)
