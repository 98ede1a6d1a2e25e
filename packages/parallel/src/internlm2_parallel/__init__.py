"""Lightning strategies over one device mesh."""

from internlm2_parallel.checkpoint import CheckpointPolicy
from internlm2_parallel.communication import Communication
from internlm2_parallel.layout import Layout
from internlm2_parallel.parallelize import Treatment
from internlm2_parallel.pipeline import Pipeline
from internlm2_parallel.ranks import DataParallel, data_parallel_of
from internlm2_parallel.strategy import MeshStrategy
from internlm2_parallel.zero import Sharding

__all__ = [
    "CheckpointPolicy",
    "Communication",
    "DataParallel",
    "Layout",
    "MeshStrategy",
    "Pipeline",
    "Sharding",
    "Treatment",
    "data_parallel_of",
]
