"""The table of layouts that must all train as one process does."""

from dataclasses import dataclass, field

from internlm2_parallel.layout import Layout
from internlm2_parallel.memory import Recompute
from internlm2_parallel.parallelize import Treatment
from internlm2_parallel.pipeline import Pipeline
from internlm2_parallel.zero import Sharding


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        layout: degrees.
        treatment: everything else.
    """

    layout: Layout
    treatment: Treatment = field(default_factory=Treatment)

    @property
    def ranks(self) -> int:
        """Ranks that it needs."""
        return self.layout.ranks


WHOLE = Sharding("replica", "replica", "replica")
PARTIAL = Sharding("partial", "partial", "partial")
TWO_PIECES = Pipeline(micro_batches=2)

LAYOUTS: dict[str, Case] = {
    "ddp": Case(Layout(replicate=2), Treatment(sharding=WHOLE)),
    "zero1": Case(Layout(shard=2), Treatment(sharding=Sharding("replica", "replica", "full"))),
    "zero2": Case(Layout(shard=2), Treatment(sharding=Sharding("replica", "full", "full"))),
    "fsdp": Case(Layout(shard=2)),
    "fsdp recompute": Case(Layout(shard=2), Treatment(recompute=Recompute(keep="matmuls"))),
    "hsdp": Case(Layout(replicate=2, shard=2), Treatment(sharding=PARTIAL)),
    "partial weights": Case(Layout(shard=4), Treatment(sharding=Sharding("partial", "full", "full"), sub_group=2)),
    "tensor": Case(Layout(tensor=2)),
    "tensor_sequence": Case(Layout(tensor=2, sequence_parallel=True)),
    "tensor 4": Case(Layout(tensor=4, sequence_parallel=True), Treatment(recompute=Recompute())),
    "fsdp x tensor_sequence": Case(Layout(shard=2, tensor=2, sequence_parallel=True)),
    "context gather": Case(Layout(context=2), Treatment(context="gather")),
    "context ulysses": Case(Layout(context=2), Treatment(context="ulysses")),
    "context ring": Case(Layout(context=2), Treatment(context="ring")),
    "context 4": Case(Layout(context=4), Treatment(context="ulysses")),
    "hsdp x context": Case(Layout(replicate=2, context=2), Treatment(sharding=PARTIAL)),
    "context x tensor_sequence": Case(Layout(context=2, tensor=2, sequence_parallel=True), Treatment(context="ring")),
    "pipeline 1f1b": Case(Layout(pipeline=2)),
    "pipeline interleaved": Case(
        Layout(pipeline=2), Treatment(pipeline=Pipeline("interleaved", stages_per_rank=2), recompute=Recompute())
    ),
    "pipeline zero_bubble": Case(Layout(pipeline=2), Treatment(pipeline=Pipeline("zero_bubble", stages_per_rank=2))),
    "pipeline zbv": Case(Layout(pipeline=2), Treatment(pipeline=Pipeline("zbv", stages_per_rank=2))),
    "pipeline 4": Case(Layout(pipeline=4), Treatment(pipeline=Pipeline("gpipe"))),
    "pipeline x fsdp": Case(
        Layout(pipeline=2, shard=2), Treatment(sharding=Sharding("replica", "full", "full"), pipeline=TWO_PIECES)
    ),
    "pipeline x tensor_sequence": Case(
        Layout(pipeline=2, tensor=2, sequence_parallel=True), Treatment(pipeline=TWO_PIECES)
    ),
    "pipeline x context": Case(Layout(pipeline=2, context=2), Treatment(pipeline=TWO_PIECES)),
}
