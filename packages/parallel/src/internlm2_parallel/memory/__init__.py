"""Trading computation for memory inside a rank, and never holding a whole network."""

from internlm2_parallel.memory.deferred import Weights, fill_kept, is_deferred, weights_for
from internlm2_parallel.memory.recompute import Recompute, recompute_blocks

__all__ = ["Recompute", "Weights", "fill_kept", "is_deferred", "recompute_blocks", "weights_for"]
