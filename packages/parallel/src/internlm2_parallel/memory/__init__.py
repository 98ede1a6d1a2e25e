"""Never holding a whole network."""

from internlm2_parallel.memory.deferred import Weights, fill_kept, is_deferred, weights_for

__all__ = ["Weights", "fill_kept", "is_deferred", "weights_for"]
