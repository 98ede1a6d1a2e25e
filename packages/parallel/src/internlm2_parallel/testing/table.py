"""The table of layouts that must all train as one process does."""

from dataclasses import dataclass, field

from internlm2_parallel.layout import Layout
from internlm2_parallel.parallelize import Treatment
from internlm2_parallel.pipeline import Pipeline
from internlm2_parallel.search.plans import Kept
from internlm2_parallel.zero import SHARDINGS, Sharding


@dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        layout: Degrees.
        treatment: Everything else that the strategy does.
        keeps: What the module keeps of its blocks for the backward pass.
    """

    layout: Layout
    treatment: Treatment = field(default_factory=Treatment)
    keeps: Kept = "all"

    @property
    def ranks(self) -> int:
        """Ranks that it needs."""
        return self.layout.ranks


TWO_PIECES = Pipeline(micro_batches=2)

LAYOUTS: dict[str, Case] = {
    "ddp": Case(Layout(replicate=2), Treatment(SHARDINGS["ddp"])),
    "zero1": Case(Layout(shard=2), Treatment(SHARDINGS["zero1"])),
    "zero2": Case(Layout(shard=2), Treatment(SHARDINGS["zero2"])),
    "fsdp": Case(Layout(shard=2)),
    "fsdp recompute": Case(Layout(shard=2), keeps="matmuls"),
    "hsdp": Case(Layout(replicate=2, shard=2), Treatment(SHARDINGS["hsdp"])),
    "partial weights": Case(Layout(shard=4), Treatment(Sharding("partial", "full", "full"), sub_group=2)),
    "tensor": Case(Layout(tensor=2)),
    "tensor_sequence": Case(Layout(tensor=2, sequence_parallel=True)),
    "tensor 4": Case(Layout(tensor=4, sequence_parallel=True), keeps="nothing"),
    "fsdp x tensor_sequence": Case(Layout(shard=2, tensor=2, sequence_parallel=True)),
    "context gather": Case(Layout(context=2), Treatment(context="gather")),
    "context ulysses": Case(Layout(context=2), Treatment(context="ulysses")),
    "context ring": Case(Layout(context=2), Treatment(context="ring")),
    "context 4": Case(Layout(context=4), Treatment(context="ulysses")),
    "hsdp x context": Case(Layout(replicate=2, context=2), Treatment(SHARDINGS["hsdp"])),
    "context x tensor_sequence": Case(Layout(context=2, tensor=2, sequence_parallel=True), Treatment(context="ring")),
    "pipeline 1f1b": Case(Layout(pipeline=2)),
    "pipeline interleaved": Case(
        Layout(pipeline=2), Treatment(pipeline=Pipeline("interleaved", stages_per_rank=2)), keeps="nothing"
    ),
    "pipeline zero_bubble": Case(Layout(pipeline=2), Treatment(pipeline=Pipeline("zero_bubble", stages_per_rank=2))),
    "pipeline zbv": Case(Layout(pipeline=2), Treatment(pipeline=Pipeline("zbv", stages_per_rank=2))),
    "pipeline 4": Case(Layout(pipeline=4), Treatment(pipeline=Pipeline("gpipe"))),
    "pipeline x fsdp": Case(Layout(pipeline=2, shard=2), Treatment(SHARDINGS["zero2"], pipeline=TWO_PIECES)),
    "pipeline x tensor_sequence": Case(
        Layout(pipeline=2, tensor=2, sequence_parallel=True), Treatment(pipeline=TWO_PIECES)
    ),
    "pipeline x context": Case(Layout(pipeline=2, context=2), Treatment(pipeline=TWO_PIECES)),
}
