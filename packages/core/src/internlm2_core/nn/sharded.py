"""Whether weights are split over ranks, asked without importing what splits them, which takes seconds."""

import sys

from torch import Tensor, nn


def is_split(weight: Tensor) -> bool:
    """Whether a weight is a DTensor.

    Args:
        weight: Of any shape [...].
    """
    return hasattr(weight, "device_mesh")


def is_gathered(net: nn.Module) -> bool:
    """Whether FSDP gathers weights of the network into memory of its own."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and any(isinstance(module, fsdp.FSDPModule) for module in net.modules())
