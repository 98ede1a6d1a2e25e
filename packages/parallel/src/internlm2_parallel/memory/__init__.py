"""Trading computation for memory inside a rank."""

from internlm2_parallel.memory.recompute import Recompute, recompute_blocks

__all__ = ["Recompute", "recompute_blocks"]
