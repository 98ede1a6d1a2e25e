"""Weights laid out for decoding on CPU.

A decoding step multiplies a few rows with every matrix. MKL does that 1.7 times as fast when the matrix is stored
column by column (tests/benchmarks/core/bench_generation.py). Training wants it row by row.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor


@contextmanager
def column_major(net: nn.Module) -> Iterator[None]:
    """Inside, matrices on CPU are stored column by column. Each is copied there and back, one at a time.

    Args:
        net: The network. Shapes, values and names of its weights do not change. Matrices on other devices or split over
            ranks are left alone, and so are those that FSDP gathers into memory of its own.
    """
    is_gathered = any(isinstance(module, FSDPModule) for module in net.modules())
    matrices = [] if is_gathered else [module.weight for module in net.modules() if isinstance(module, nn.Linear)]
    turned = [w for w in matrices if w.device.type == "cpu" and not isinstance(w, DTensor) and w.is_contiguous()]
    for weight in turned:
        weight.data = weight.data.t().contiguous().t()
    try:
        yield
    finally:
        for weight in turned:
            weight.data = weight.data.contiguous()
