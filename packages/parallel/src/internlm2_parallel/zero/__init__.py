"""Sharding of the weights' state over the data ranks: parameters, gradients, optimizer state, each on its own."""

from internlm2_parallel.zero.copies import filled, neighbours
from internlm2_parallel.zero.fully_shard import blocked_gradient_sync, shard_state
from internlm2_parallel.zero.sharding import SHARDINGS, Extent, Sharding

__all__ = ["SHARDINGS", "Extent", "Sharding", "blocked_gradient_sync", "filled", "neighbours", "shard_state"]
