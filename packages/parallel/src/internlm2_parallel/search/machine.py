"""What a cluster can do, in the few numbers that the cost model needs, each with its source.

=====================  ========================================================================================
number                 source
=====================  ========================================================================================
peak, memory, SMs      NVIDIA's data sheets of A100 80 GB SXM, H100 SXM and NVL, H200 SXM. Memory less 4 GB for CUDA
                       and NCCL, its bandwidth at four fifths
products               fastest bf16 product found on one GPU: 86.9% of the peak on A100, 80.3% on H100 (S. Bekman,
                       ml-engineering, table of maximum achievable matmul FLOPS)
attention              A100: 73% of the peak forward, 63% backward (FlashAttention-2, arXiv 2307.08691). H100: 616 and
                       561 TFLOP/s at rows of 16k (FlashAttention-3, arXiv 2407.08608, figures 5 and 6)
links of a node        A100: 235 GB/s, NCCL's own limit (``src/graph/tuning.cc``). H100 and H200: 368 GB/s, an
                       all-reduce of 8 GPUs without NVLS (ml-engineering, all-reduce on 8x H200)
network                A DGX A100 has 8 x 200 Gb/s, a DGX H100 8 x 400 Gb/s. ``a100_roce`` is the cluster of InternEvo's
                       tables, 4 x 100 Gb/s (InternEvo, doc/en/train_performance.md)
share of the network   0.92 over InfiniBand, the same share of the line as in a node. Over RoCE `ROCE_SHARE`
latencies              NCCL's ring with the Simple protocol (``src/graph/tuning.cc``): 8.4 us, and 3.4 us for each step
                       inside a node, 9.6 us between nodes
launches               3.8 us a kernel, launches overlapped (NVIDIA, Getting Started with CUDA Graphs)
=====================  ========================================================================================

Two numbers are fitted to published runs: `SUSTAINED` and `ROCE_SHARE`. ``tests/benchmarks/parallel/bench_published.py``
fits them again without each run that it judges.
"""

from dataclasses import dataclass, replace

SUSTAINED = 0.82
"""Share of the fastest product's speed that a long run keeps: power and clocks, other shapes, gaps between kernels."""

ROCE_SHARE = 0.5
"""Share of the line rate that collectives reach over the Ethernet of ``a100_roce``."""


@dataclass(frozen=True)
class Machine:
    """One kind of cluster. Rates are per GPU, and GB is 1e9 bytes.

    Attributes:
        name: Short.
        chip: The GPU. Published runs of the same chip are shown beside predictions.
        peak_tflops: Dense bf16 peak.
        matmul_tflops: What the fastest product of two large matrices reaches.
        attention_tflops: What attention reaches on long rows, forward and backward.
        multiprocessors: That share the tiles of a product.
        memory_gb: Memory of a GPU that a run may use.
        memory_gb_s: Bandwidth of that memory that element-wise kernels reach.
        node_gpus: GPUs of a node.
        node_gb_s: Bandwidth of a ring inside a node, one direction.
        network_gb_s: Line rate of a GPU's share of the network, one direction.
        network_share: Share of it that collectives reach.
        sustained: Share of ``matmul_tflops`` and ``attention_tflops`` that a long run keeps.
        launch_us: Least time of a kernel.
        start_us: Time of a collective that moves nothing.
        node_hop_us: Latency of a step of a ring inside a node.
        network_hop_us: The same between nodes.
    """

    name: str
    chip: str
    peak_tflops: float
    matmul_tflops: float
    attention_tflops: tuple[float, float]
    multiprocessors: int
    memory_gb: float
    memory_gb_s: float
    node_gpus: int
    node_gb_s: float
    network_gb_s: float
    network_share: float = 0.92
    sustained: float = SUSTAINED
    launch_us: float = 3.8
    start_us: float = 8.4
    node_hop_us: float = 3.4
    network_hop_us: float = 9.6

    def with_network(self, node_gbit_s: float | None) -> "Machine":
        """The same with another network.

        Args:
            node_gbit_s: Line rate of a node's network in Gb/s, one direction. None changes nothing.

        Raises:
            ValueError: If it is not positive.
        """
        if node_gbit_s is None:
            return self
        if node_gbit_s <= 0:
            raise ValueError(f"network_gbit_s={node_gbit_s} must be positive.")
        return replace(self, network_gb_s=node_gbit_s / 8 / self.node_gpus)


_A100 = Machine("a100", "A100", 312.0, 271.2, (228.0, 197.0), 108, 76.0, 1630.0, 8, 235.0, 25.0)
_H100 = Machine("h100", "H100", 989.0, 794.5, (616.0, 561.0), 132, 76.0, 2680.0, 8, 368.0, 50.0)
# 500 W lie a third of the way from the data sheet of the NVL card (400 W, 835 TFLOP/s) to that of the SXM (700 W).
_CAPPED = 886.0 / 989.0

MACHINES: dict[str, Machine] = {
    "a100": _A100,
    "a100_roce": replace(_A100, name="a100_roce", network_gb_s=6.25, network_share=ROCE_SHARE),
    "h100": _H100,
    "h100_500w": replace(
        _H100,
        name="h100_500w",
        peak_tflops=886.0,
        matmul_tflops=794.5 * _CAPPED,
        attention_tflops=(616.0 * _CAPPED, 561.0 * _CAPPED),
        memory_gb=92.0,
        memory_gb_s=1920.0,
    ),
    "h200": replace(_H100, name="h200", chip="H200", memory_gb=137.0, memory_gb_s=3840.0),
}


def machine_called(name: str) -> Machine:
    """The machine of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in MACHINES:
        raise ValueError(f"hardware={name!r} must be one of {', '.join(MACHINES)}.")
    return MACHINES[name]
