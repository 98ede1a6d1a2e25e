"""What a cluster can do, in the few numbers that the cost model needs."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """One kind of cluster. Rates are per GPU, and GB is 1e9 bytes.

    Attributes:
        name: Short.
        peak_tflops: Dense bf16 peak.
        matmul_share: Share of the peak that large matrix products of a block reach.
        attention_share: Share of the peak that attention kernels reach.
        memory_gb: Memory of a GPU that a run may use.
        memory_gb_s: Bandwidth of that memory that element-wise kernels reach.
        node_gpus: GPUs of a node.
        node_gb_s: Bandwidth of a ring inside a node, one direction.
        network_gb_s: Bandwidth between nodes, one direction.
        latency_us: Latency of one collective hop between nodes.
    """

    name: str
    peak_tflops: float
    matmul_share: float
    attention_share: float
    memory_gb: float
    memory_gb_s: float
    node_gpus: int
    node_gb_s: float
    network_gb_s: float
    latency_us: float = 10.0

    def gb_s(self, ranks_apart: int) -> float:
        """Bandwidth of a group that spans ``ranks_apart`` consecutive ranks."""
        return self.node_gb_s if ranks_apart <= self.node_gpus else self.network_gb_s


# Peaks, memory and links come from the makers' data sheets, four fifths of the memory's bandwidth. Shares are what
# published runs reach (torchtitan, Megatron-LM).
MACHINES: dict[str, Machine] = {
    "a100": Machine("a100", 312.0, 0.75, 0.60, 76.0, 1630.0, 8, 230.0, 23.0),
    "h100": Machine("h100", 989.0, 0.65, 0.45, 76.0, 2680.0, 8, 360.0, 45.0),
    "h200": Machine("h200", 989.0, 0.65, 0.45, 136.0, 3840.0, 8, 360.0, 45.0),
}


def machine_called(name: str) -> Machine:
    """The machine of that name.

    Raises:
        ValueError: If there is none.
    """
    if name not in MACHINES:
        raise ValueError(f"hardware={name!r} must be one of {', '.join(MACHINES)}.")
    return MACHINES[name]
