"""Runs that others published, each with its own layout: what the cost model is judged by."""

from dataclasses import dataclass

from internlm2_parallel.layout import Layout
from internlm2_parallel.search.machine import MACHINES, Machine
from internlm2_parallel.search.plans import SEARCHED, Kept, Plan, PlannedShape, Workload
from internlm2_parallel.search.sizes import Sizes


@dataclass(frozen=True, eq=False)
class Published:
    """One run.

    Attributes:
        source: Who published it, and where.
        run: What it was.
        hardware: Key of `MACHINES`.
        shape: Sizes of the network.
        layout: Degrees.
        sharding: Key of `SEARCHED`.
        keep: What a block keeps.
        micro_batches: Pieces of a data rank's share of the batch.
        micro_rows: Rows of a piece.
        tokens: Of a row.
        tokens_s: Tokens a second of one GPU, as published.
        judged: Whether it is one of the fourteen that the model is judged by. The others are shown beside them.
        gradient_bytes: Bytes of a gradient while it is reduced.
    """

    source: str
    run: str
    hardware: str
    shape: PlannedShape
    layout: Layout
    sharding: str
    keep: Kept
    micro_batches: int
    micro_rows: int
    tokens: int
    tokens_s: float
    judged: bool = True
    gradient_bytes: int = 2

    @property
    def work(self) -> Workload:
        """What was trained."""
        rows = self.micro_batches * self.micro_rows * self.layout.data_parallel_size
        return Workload(self.shape, self.tokens, rows * self.tokens, gradient_bytes=self.gradient_bytes)

    @property
    def plan(self) -> Plan:
        """How."""
        sharding = SEARCHED[self.sharding]
        return Plan(self.layout, sharding, self.sharding, self.keep, self.micro_batches, self.micro_rows)

    @property
    def machine(self) -> Machine:
        """Where."""
        return MACHINES[self.hardware]

    @property
    def mfu(self) -> float:
        """MFU as we count: causal attention as half, nothing for recomputation."""
        return self.work.flops / self.work.batch_tokens * self.tokens_s / (self.machine.peak_tflops * 1e12)

    @property
    def mfu_internevo(self) -> float:
        """MFU as InternEvo counts: all of the attention, a fourth pass where blocks are computed again."""
        flops = self.shape.internevo_flops_per_token(self.tokens, self.keep == "nothing")
        return flops * self.tokens_s / (self.machine.peak_tflops * 1e12)


FIRST_7B = Sizes("7B", 32, 4096, 32, 1, 11008, 103168)
LLAMA_8B = Sizes("8B", 32, 4096, 8, 4, 14336, 128256)
LLAMA_1B = Sizes("1B", 16, 2048, 8, 4, 8192, 128256, 64)
MISTRAL_7B = Sizes("7B", 32, 4096, 8, 4, 14336, 32000)
OLMO_7B = Sizes("7B", 32, 4096, 32, 1, 11008, 100352)

INTERNEVO = "InternEvo, doc/en/train_performance.md"
DATAFLOW = "als244/ml_dataflow, one GPU, states streamed from the host"
TITAN = "torchtitan, llama3_h100_202412_torchtitan.md"


def _internevo(
    gpus: int,
    pieces: int,
    tokens_s: float,
    *,
    keep: Kept = "all",
    rows: int = 2,
    tensor: int = 1,
    everywhere: bool = False,
    judged: bool = True,
) -> Published:
    """A row of InternEvo's tables: rows of 2k, state split inside nodes unless it is split everywhere."""
    shard = gpus // tensor if everywhere else 8 // tensor
    layout = Layout(replicate=gpus // tensor // shard, shard=shard, tensor=tensor)
    run = f"{gpus:,} GPUs, {pieces * rows * 2048 * layout.data_parallel_size / 2**20:.3g}M tokens"
    run += ", two tensor ranks" * (tensor > 1) + ", state over all GPUs" * everywhere
    run += ", blocks computed again" * (keep == "nothing")
    sharding = "zero1_node" if layout.replicate > 1 else "zero1"
    return Published(
        INTERNEVO, run, "a100_roce", FIRST_7B, layout, sharding, keep, pieces, rows, 2048, tokens_s, judged
    )


def _dataflow(shape: Sizes, tokens: int, tokens_s: float, judged: bool) -> Published:
    run = f"{shape.name}, rows of {tokens // 1024}k"
    rows = max(1, 16384 // tokens)
    return Published(DATAFLOW, run, "h100", shape, Layout(), "ddp", "all", 4, rows, tokens, tokens_s, judged)


def _titan(run: str, gpus: int, tokens_s: float, judged: bool) -> Published:
    layout = Layout(shard=gpus)
    return Published(
        TITAN, run, "h100_500w", LLAMA_8B, layout, "zero3", "matmuls", 1, 2, 8192, tokens_s, judged, gradient_bytes=4
    )


PUBLISHED: tuple[Published, ...] = (
    _internevo(8, 4, 4103),
    _internevo(64, 4, 3944),
    _internevo(128, 4, 3928),
    _internevo(256, 4, 3920),
    _internevo(512, 4, 3900),
    _internevo(1024, 4, 3625),
    _internevo(512, 2, 3084),
    _internevo(1024, 2, 2817),
    _internevo(1024, 1, 2346),
    Published(
        "NVIDIA, dgxc-benchmarking, Llama 3.1 8B", "8 GPUs, rows of 8k", "h100", LLAMA_8B, Layout(shard=4, context=2),
        "zero1", "all", 32, 1, 8192, 10680,
    ),
    Published(
        "Fast-LLM, Mistral 7B", "32 GPUs, rows of 8k", "h100", MISTRAL_7B, Layout(shard=32), "zero1", "all", 1, 1, 8192,
        10350, gradient_bytes=4,
    ),
    _titan("8 GPUs, rows of 8k, compiled", 8, 6667, judged=True),
    _dataflow(LLAMA_8B, 131072, 3387, judged=True),
    _dataflow(LLAMA_8B, 262144, 2073, judged=True),
    _internevo(8, 1, 3314, keep="nothing", rows=8, judged=False),
    _internevo(64, 1, 3217, keep="nothing", rows=8, judged=False),
    _internevo(1024, 1, 3163, keep="nothing", rows=8, judged=False),
    _internevo(8, 4, 3761, tensor=2, rows=4, judged=False),
    _internevo(64, 4, 3650, tensor=2, rows=4, judged=False),
    _internevo(1024, 4, 3486, tensor=2, rows=4, judged=False),
    _internevo(16, 4, 3842, everywhere=True, judged=False),
    _internevo(64, 4, 3690, everywhere=True, judged=False),
    _internevo(256, 4, 3209, everywhere=True, judged=False),
    _internevo(1024, 4, 2271, everywhere=True, judged=False),
    _titan("8 GPUs, rows of 8k, eager", 8, 5762, judged=False),
    _titan("128 GPUs, rows of 8k, compiled", 128, 6514, judged=False),
    _titan("128 GPUs, rows of 8k, eager", 128, 5605, judged=False),
    _dataflow(LLAMA_8B, 8192, 11406, judged=False),
    _dataflow(LLAMA_8B, 32768, 7900, judged=False),
    _dataflow(LLAMA_1B, 8192, 55000, judged=False),
    _dataflow(LLAMA_1B, 131072, 12300, judged=False),
    Published(
        "OLMo 3 7B, report, restarts included", "512 GPUs, rows of 8k", "h100", OLMO_7B, Layout(replicate=64, shard=8),
        "hsdp", "all", 1, 1, 8192, 7040, judged=False, gradient_bytes=4,
    ),
)  # fmt: skip
