"""Workloads, candidate layouts, and their order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from internlm2_parallel.layout import Layout, NetShape
from internlm2_parallel.search.machine import Machine
from internlm2_parallel.zero import Sharding

Kept = Literal["all", "matmuls", "nothing"]
SHARDINGS = {
    "ddp": Sharding("replica", "replica", "replica"),
    "zero1": Sharding("replica", "replica", "full"),
    "zero2": Sharding("replica", "full", "full"),
    "zero3": Sharding(),
    "hsdp": Sharding("partial", "partial", "partial"),
}


class PlannedShape(NetShape, Protocol):
    """Sizes that the cost model reads besides those that a layout divides."""

    @property
    def dim(self) -> int: ...  # noqa: D102
    @property
    def head_dim(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Workload:
    """What is trained.

    Attributes:
        shape: sizes of the network.
        tokens: length of a row.
        batch_tokens: tokens of a global batch.
        value_bytes: bytes of a value while a step computes: 2 for bf16, 4 for fp32.

    Raises:
        ValueError: the batch is shorter than a row.
    """

    shape: PlannedShape
    tokens: int
    batch_tokens: int
    value_bytes: int = 2

    def __post_init__(self) -> None:
        if self.batch_tokens < self.tokens:
            raise ValueError(
                f"a batch of {self.batch_tokens} tokens holds no row of {self.tokens}; set batch_tokens or seq."
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
        """Operations of one step that the model needs: 6 per matrix weight and token, causal attention as half."""
        s = self.shape
        matrices = 6.0 * (self.weights - s.vocab_size * s.dim) * self.batch_tokens
        return matrices + self.attention_flops

    @property
    def attention_flops(self) -> float:
        """Operations of one step in attention, each row one document."""
        return 6.0 * self.shape.layers * self.q_width * self.tokens * self.batch_tokens


@dataclass(frozen=True)
class Plan:
    """One way to run a workload.

    Attributes:
        layout: degrees.
        sharding: extents, and their usual name.
        sharding_name: key of :data:`SHARDINGS`.
        keep: activations that are kept: all, the matrix products, or nothing but the blocks' inputs.
        micro_batches: pieces of a data rank's share of the batch.
        micro_rows: rows of a piece.
    """

    layout: Layout
    sharding: Sharding
    sharding_name: str
    keep: Kept
    micro_batches: int
    micro_rows: int

    @property
    def state_shards(self) -> int:
        """Ranks that weights and optimizer state are split over between steps."""
        return 1 if self.sharding.optimizer == "replica" else self.layout.shard * self.layout.context


def divisors(number: int, limit: int) -> list[int]:
    """Divisors up to a limit, ascending."""
    return [d for d in range(1, min(number, limit) + 1) if number % d == 0]


def candidates(work: Workload, gpus: int, machine: Machine) -> Iterator[Plan]:
    """Every plan whose degrees divide the model, the rows and the cluster.

    Args:
        work: what is trained.
        gpus: number of ranks.
        machine: tensor ranks stay inside its node.
    """
    for tensor in divisors(gpus, machine.node_gpus):
        for context in divisors(gpus // tensor, 64):
            for pipeline in divisors(gpus // tensor // context, min(work.shape.layers, 16)):
                for layout in _data_layouts(gpus // (tensor * context * pipeline), tensor, context, pipeline, machine):
                    if not _fits(layout, work):
                        continue
                    yield from _plans(layout, work)


def _data_layouts(data: int, tensor: int, context: int, pipeline: int, machine: Machine) -> Iterator[Layout]:
    shards = {data, *divisors(data, max(1, machine.node_gpus // tensor))}
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
    for name, sharding in SHARDINGS.items():
        if not _names_layout(name, layout):
            continue
        for keep in ("all", "matmuls", "nothing"):
            for micro_rows in (size for size in (1, 2, 4) if rows % size == 0):
                pieces = rows // micro_rows
                if layout.pipeline <= pieces:
                    yield Plan(layout, sharding, name, keep, pieces, micro_rows)  # type: ignore[arg-type]


def _names_layout(name: str, layout: Layout) -> bool:
    """Whether the extents suit the layout: whole copies need no shards, full shards no copies, partial both."""
    shards = layout.shard * layout.context
    if name == "ddp":
        return shards == 1
    if name == "hsdp":
        return layout.replicate > 1 and shards > 1
    return layout.replicate == 1 and shards > 1
