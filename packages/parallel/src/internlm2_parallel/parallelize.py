"""The one place that fixes the order in which a network is taken apart.

pipeline stages; then in each: tensor (and sequence) -> context -> recompute -> compile -> shard -> fill (if deferred)
"""

from dataclasses import dataclass, field

import torch
from torch import nn

from internlm2_parallel.context import ContextAttention, split_tokens
from internlm2_parallel.memory import Recompute, Weights, fill_kept, recompute_blocks, weights_for
from internlm2_parallel.mesh import Ranks
from internlm2_parallel.pipeline import Pipeline, PipelinedNet
from internlm2_parallel.plan import TensorPlan, llama_plan
from internlm2_parallel.tensor import split_matrices
from internlm2_parallel.zero import Sharding, shard_state

UNCOMPILED = (
    "tensor={}: torch.compile loses the DTensors of split matrices in its backward; set compile_blocks=false (module "
    "and strategy.treatment) or layout.tensor=1."
)
DTYPES = {None: None, "bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}


@dataclass(frozen=True)
class Treatment:
    """What is done to each network, beside the degrees of the layout.

    Attributes:
        plan: tensor-parallel patterns; None takes those of the released names.
        sharding: extents of the state.
        sub_group: see :func:`~internlm2_parallel.zero.shard_state`.
        context: which attention runs where tokens of a row are split over ranks.
        recompute: activation recomputation; None keeps all activations.
        compile_blocks: torch.compile each block.
        pipeline: schedule of the pipeline, where the layout has one.
        param_dtype: dtype of computation under sharding ("bfloat16", with weights, gradients and moments in fp32); None
            keeps that of the weights. Where no weights are gathered, the Trainer's ``precision`` does this.

    Raises:
        ValueError: an unknown dtype.
    """

    plan: TensorPlan | None = None
    sharding: Sharding = field(default_factory=Sharding)
    sub_group: int = 0
    context: ContextAttention = "gather"
    recompute: Recompute | None = None
    compile_blocks: bool = False
    pipeline: Pipeline = field(default_factory=Pipeline)
    param_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.param_dtype not in DTYPES:
            names = ", ".join(name for name in DTYPES if name)
            raise ValueError(
                f"param_dtype={self.param_dtype!r} is none of {names}; "
                "set strategy.treatment.param_dtype to one, or null."
            )

    @property
    def dtype(self) -> torch.dtype | None:
        """``param_dtype`` as torch's."""
        return DTYPES[self.param_dtype]


def parallelize(net: nn.Module, ranks: Ranks, how: Treatment) -> None:
    """Take ``net`` apart in place.

    Args:
        net: a network with the released names, in place or on the meta device (then its ``initial_weights()`` gives
            whole weights by name, and each rank keeps its part).
        ranks: the meshes of the layout.
        how: everything that is not a degree.

    Raises:
        ValueError: the treatment does not fit the layout or the network's names.
    """
    weights = weights_for(net)
    if ranks.layout.pipeline == 1:
        parallelize_stage(net, ranks, how, weights)
        return
    pipelined = PipelinedNet(net, ranks.pipeline, how.pipeline, ranks.layout.context, how.dtype)
    for index, stage in pipelined.shells.items():
        parallelize_stage(stage, ranks, how, weights, is_last=index == pipelined.num_stages - 1)


def parallelize_stage(
    stage: nn.Module, ranks: Ranks, how: Treatment, weights: Weights | None, is_last: bool = True
) -> None:
    """Everything but the pipeline: a whole network, or one stage of it."""
    layout = ranks.layout
    if layout.tensor > 1 and any(getattr(block, "_compiled_call_impl", None) for block in blocks_of(stage)):
        raise ValueError(UNCOMPILED.format(layout.tensor))
    if layout.tensor > 1:
        split_matrices(stage, ranks.tensor, how.plan or llama_plan(layout.sequence_parallel))
    if layout.context > 1:
        split_tokens(stage, ranks.context, how.context, ends_here=is_last)
    blocks = blocks_of(stage)
    if how.recompute is not None:
        recompute_blocks(blocks, how.recompute)
    if how.compile_blocks:
        for block in blocks:
            block.compile()
    shard_state(stage, ranks, how.sharding, sub_group=how.sub_group, param_dtype=how.dtype)
    if weights is not None:
        fill_kept(stage, weights, ranks.weights.device_type)


def blocks_of(net: nn.Module) -> list[nn.Module]:
    """The blocks of a network: children of whatever is called ``layers``."""
    return [
        block for name, module in net.named_modules() if name.split(".")[-1] == "layers" for block in module.children()
    ]
