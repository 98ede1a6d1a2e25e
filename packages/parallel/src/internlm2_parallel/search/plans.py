"""Workloads, candidate layouts, and their order."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Literal, Protocol

from internlm2_parallel.context import ContextAttention
from internlm2_parallel.layout import Layout, NetShape
from internlm2_parallel.search.machine import Machine
from internlm2_parallel.zero import SHARDINGS, Sharding

Kept = Literal["all", "matmuls", "nothing"]
"""What a block keeps for the backward pass."""

SEARCHED = {
    **SHARDINGS,
    "zero1_node": Sharding("replica", "replica", "partial"),
    "zero2_node": Sharding("replica", "partial", "partial"),
}
"""Extents that are searched. The last two split state inside a sub-group and copy it across, weights whole while a step
computes. InternEvo trains like the first of them."""


class PlannedShape(NetShape, Protocol):
    """What the cost model asks of a shape, besides the sizes that a layout divides. core's ModelSize answers."""

    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def head_dim(self) -> int: ...  # noqa: D102
    def matrix_flops_per_token(self) -> float:
        """Operations of a training step in matrices, per token: 6 per weight, the embedding left out."""

    def flops_per_pair(self) -> float:
        """Operations of a training step of all blocks for one token that attends to one token."""

    def internevo_flops_per_token(self, context: int, recomputes: bool = False) -> float:
        """Operations of a training step per token as InternEvo counts them.

        Args:
            context: Tokens of a row.
            recomputes: Whether blocks are computed again.
        """


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        shape: Sizes of the network.
        tokens: Length of a row.
        batch_tokens: Tokens of a global batch.
        value_bytes: Bytes of a value while a step computes: 2 for bf16, 4 for fp32.
        gradient_bytes: Bytes of a gradient while it is added up and reduced. Ours are fp32.

    Raises:
        ValueError: If the batch is shorter than a row.
    """

    shape: PlannedShape
    tokens: int
    batch_tokens: int
    value_bytes: int = 2
    gradient_bytes: int = 4

    def __post_init__(self) -> None:
        if self.batch_tokens < self.tokens:
            raise ValueError(
                f"batch_tokens={self.batch_tokens} holds no row of tokens={self.tokens}. It must be as long or longer."
            )

    @property
    def rows(self) -> int:
        """Rows of a global batch."""
        return self.batch_tokens // self.tokens

    @property
    def q_width(self) -> int:
        """Values of a token's queries."""
        return self.shape.num_kv_heads * self.shape.q_per_kv * self.shape.head_dim

    @property
    def kv_width(self) -> int:
        """Values of a token's keys, and as many of its values."""
        return self.shape.num_kv_heads * self.shape.head_dim

    @property
    def block_weights(self) -> int:
        """Weights of a block's matrices."""
        return 2 * self.shape.dim * (self.q_width + self.kv_width) + 3 * self.shape.dim * self.shape.ffn_dim

    @property
    def weights(self) -> int:
        """All weights, norms left out."""
        return self.shape.layers * self.block_weights + 2 * self.shape.vocab_size * self.shape.dim

    @property
    def flops(self) -> float:
        """Operations of one step that the model needs, causal attention counted as half."""
        return self.matrix_flops + self.attention_flops

    @cached_property
    def matrix_flops(self) -> float:
        """Operations of one step in matrices."""
        return self.shape.matrix_flops_per_token() * self.batch_tokens

    @cached_property
    def attention_flops(self) -> float:
        """Operations of one step in attention, each row one document."""
        return self.shape.flops_per_pair() * self.tokens / 2 * self.batch_tokens


@dataclass(frozen=True)
class Plan:
    """One way to run a workload.

    Attributes:
        layout: Degrees.
        sharding: Extents, and their usual name.
        sharding_name: Key of `SEARCHED`.
        keep: Activations that are kept: all, the matrix products, or nothing but the blocks' inputs.
        micro_batches: Pieces of a data rank's share of the batch.
        micro_rows: Rows of a piece.
        context: Attention where the tokens of a row are split.
        stages_per_rank: Stages of a rank. More than one are interleaved.
    """

    layout: Layout
    sharding: Sharding
    sharding_name: str
    keep: Kept
    micro_batches: int
    micro_rows: int
    context: ContextAttention = "gather"
    stages_per_rank: int = 1

    @property
    def state_shards(self) -> int:
        """Ranks that weights and optimizer state are split over between steps."""
        return 1 if self.sharding.optimizer == "replica" else self.layout.shard * self.layout.context


def _divisors(number: int, limit: int) -> list[int]:
    """Divisors, ascending."""
    return [d for d in range(1, min(number, limit) + 1) if number % d == 0]


def candidates(work: Workload, gpus: int, machine: Machine) -> Iterator[Plan]:
    """Every plan whose degrees divide the model, the rows and the cluster, least recomputation first.

    Args:
        work: What is trained.
        gpus: Number of ranks.
        machine: Tensor ranks stay inside its node.
    """
    for tensor in _divisors(gpus, machine.node_gpus):
        for context in _divisors(gpus // tensor, 64):
            for pipeline in _divisors(gpus // tensor // context, min(work.shape.layers, 16)):
                for layout in _data_layouts(gpus // (tensor * context * pipeline), tensor, context, pipeline, machine):
                    if not _fits(layout, work):
                        continue
                    yield from _plans(layout, work)


def _data_layouts(data: int, tensor: int, context: int, pipeline: int, machine: Machine) -> Iterator[Layout]:
    shards = {data, *_divisors(data, max(1, machine.node_gpus // tensor))}
    for shard in sorted(shards):
        yield Layout(pipeline, data // shard, shard, context, tensor, sequence_parallel=tensor > 1)


def _fits(layout: Layout, work: Workload) -> bool:
    try:
        layout.check(work.shape, work.tokens)
    except ValueError:
        return False
    return work.rows % layout.data_parallel_size == 0


def _plans(layout: Layout, work: Workload) -> Iterator[Plan]:
    rows = work.rows // layout.data_parallel_size
    sizes = [size for size in (1, 2, 4) if rows % size == 0 and layout.pipeline <= rows // size]
    shardings = [(name, sharding) for name, sharding in SEARCHED.items() if _names_layout(name, layout)]
    kept: tuple[Kept, ...] = ("all", "matmuls", "nothing")
    for (name, sharding), size, attention in product(shardings, sizes, _attentions(layout, work)):
        for stages, keep in product(_interleaved(layout, work, rows // size), kept):
            yield Plan(layout, sharding, name, keep, rows // size, size, attention, stages)


def _attentions(layout: Layout, work: Workload) -> list[ContextAttention]:
    """Ulysses where the heads of a tensor rank divide. Ring holds more than gather and is not faster."""
    heads = work.shape.num_kv_heads * work.shape.q_per_kv // layout.tensor
    return ["gather", "ulysses"] if layout.context > 1 and heads % layout.context == 0 else ["gather"]


def _interleaved(layout: Layout, work: Workload, pieces: int) -> list[int]:
    """Stages of a rank. Several pass the micro-batches in rounds of as many as there are ranks."""
    if layout.pipeline == 1 or pieces % layout.pipeline:
        return [1]
    return [stages for stages in (1, 2, 4) if layout.pipeline * stages <= work.shape.layers]


def _names_layout(name: str, layout: Layout) -> bool:
    """Whether the extents suit the layout: whole copies need no shards, full shards no copies, partial both."""
    shards = layout.shard * layout.context
    if name == "ddp":
        return shards == 1
    if SEARCHED[name].optimizer == "partial":
        return layout.replicate > 1 and shards > 1
    return layout.replicate == 1 and shards > 1
