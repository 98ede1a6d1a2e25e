"""Seconds of collectives by the group that they run in."""

import math
from dataclasses import dataclass

from internlm2_parallel.search.machine import Machine


@dataclass(frozen=True)
class Group:
    """Ranks that talk to each other.

    Attributes:
        machine: Where they are.
        ranks: How many.
        stride: Distance of neighbours in the order of ranks. Tensor ranks have 1.
    """

    machine: Machine
    ranks: int
    stride: int

    @property
    def nodes(self) -> int:
        """Nodes that the group lies on."""
        return math.ceil(self.ranks * self.stride / self.machine.node_gpus) if self._crosses else 1

    @property
    def _crosses(self) -> bool:
        return self.ranks * self.stride > self.machine.node_gpus

    @property
    def gb_s(self) -> float:
        """Bandwidth of a rank in a ring, one direction. Rings use the network links of all their ranks in a node."""
        if not self._crosses:
            return self.machine.node_gb_s
        here = max(1, self.machine.node_gpus // self.stride)
        return min(self.machine.node_gb_s, here * self._own_network_gb_s)

    @property
    def _own_network_gb_s(self) -> float:
        return self.machine.network_gb_s * self.machine.network_share

    def gather_s(self, whole_bytes: float, times: float = 1) -> float:
        """All-gather to ``whole_bytes``, or reduce-scatter of as many.

        Args:
            whole_bytes: On each rank, before or after.
            times: How often.
        """
        if self.ranks == 1:
            return 0.0
        nodes = min(self.nodes, self.ranks)
        hops = (self.ranks - nodes) * self.machine.node_hop_us + (nodes - 1) * self.machine.network_hop_us
        moved = whole_bytes * (self.ranks - 1) / self.ranks
        return times * (moved / (self.gb_s * 1e9) + (self.machine.start_us + hops) * 1e-6)

    def reduce_s(self, whole_bytes: float, times: float = 1) -> float:
        """All-reduce: a reduce-scatter and an all-gather.

        Args:
            whole_bytes: On each rank.
            times: How often.
        """
        return 2 * self.gather_s(whole_bytes, times)

    def exchange_s(self, local_bytes: float, times: float = 1) -> float:
        """All-to-all.

        Args:
            local_bytes: On each rank.
            times: How often.
        """
        # Each rank sends all but its own part. Between nodes a rank has only its own link.
        if self.ranks == 1:
            return 0.0
        moved = local_bytes * (self.ranks - 1) / self.ranks
        return times * self._hop_s(moved, far=self._crosses)

    def send_s(self, sent_bytes: float) -> float:
        """From a rank to the next.

        Args:
            sent_bytes: By each rank.
        """
        return self._hop_s(sent_bytes, far=self.stride >= self.machine.node_gpus)

    def _hop_s(self, moved: float, far: bool) -> float:
        """Over a rank's own link, between nodes (far) or inside one."""
        link = self._own_network_gb_s if far else self.machine.node_gb_s
        hop = self.machine.network_hop_us if far else self.machine.node_hop_us
        return moved / (link * 1e9) + (self.machine.start_us + hop) * 1e-6
