"""Seconds of kernels by their size.

Small matrices do not fill a GPU, short rows do not fill an attention kernel, and no kernel is faster than its launch.
"""

import math

from internlm2_parallel.search.machine import Machine

TILE = 128
"""Rows and columns of the result that one multiprocessor computes at a time (CUTLASS, efficient GEMM)."""

HALF_SPEED_TOKENS = 512
"""Queries at which attention reaches half of its speed: 292 to 616 TFLOP/s over rows of 512 to 16k are
630 L / (L + 512) within 8% (FlashAttention-3, arXiv 2407.08608, figure 5)."""


def product_s(machine: Machine, rows: int, inner: int, columns: int, value_bytes: int) -> float:
    """A product [rows, inner] x [inner, columns]: whole waves of tiles, or the bytes, or the launch.

    Args:
        machine: Where.
        rows: Of the result.
        inner: Summed over.
        columns: Of the result.
        value_bytes: Bytes of a value.
    """
    tiles = math.ceil(rows / TILE) * math.ceil(columns / TILE)
    waves = math.ceil(tiles / machine.multiprocessors)
    operations = 2.0 * waves * machine.multiprocessors * TILE * TILE * inner
    moved = value_bytes * (rows * inner + inner * columns + rows * columns)
    computing = operations / (machine.matmul_tflops * machine.sustained * 1e12)
    return max(computing, bytes_s(machine, moved), machine.launch_us * 1e-6)


def bytes_s(machine: Machine, moved: float, kernels: int = 1) -> float:
    """Kernels that only move bytes.

    Args:
        machine: Where.
        moved: Bytes that are read and written.
        kernels: How many they are.
    """
    return max(moved / (machine.memory_gb_s * 1e9), kernels * machine.launch_us * 1e-6)


def attention_s(machine: Machine, operations: float, queries: float) -> tuple[float, float]:
    """Attention, forward and backward.

    Args:
        machine: Where.
        operations: Of the forward pass. The backward pass has twice as many.
        queries: Of a row on this rank.
    """
    filled = queries / (queries + HALF_SPEED_TOKENS)
    forward, backward = (tflops * machine.sustained * filled * 1e12 for tflops in machine.attention_tflops)
    launch = machine.launch_us * 1e-6
    return max(operations / forward, launch), max(2 * operations / backward, launch)
