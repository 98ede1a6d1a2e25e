"""Cluster life: pre-emption at the step boundary, hangs, slow ranks, nodes that failed, causes read from logs."""

from internlm2_parallel.health.diagnosis import Cause, diagnose
from internlm2_parallel.health.failures import FailedNodes
from internlm2_parallel.health.flight import divergence
from internlm2_parallel.health.nodes import failed_nodes
from internlm2_parallel.health.preemption import Preempted, Preemption
from internlm2_parallel.health.stragglers import Stragglers
from internlm2_parallel.health.watch import HangWatch

__all__ = [
    "Cause",
    "FailedNodes",
    "HangWatch",
    "Preempted",
    "Preemption",
    "Stragglers",
    "diagnose",
    "divergence",
    "failed_nodes",
]
