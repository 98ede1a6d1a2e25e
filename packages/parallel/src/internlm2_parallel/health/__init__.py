"""Cluster life: pre-emption at the step boundary, hangs that name rank and operation, causes read from logs."""

from internlm2_parallel.health.diagnosis import Cause, diagnose
from internlm2_parallel.health.preemption import Preempted, Preemption
from internlm2_parallel.health.watch import HangWatch

__all__ = ["Cause", "HangWatch", "Preempted", "Preemption", "diagnose"]
