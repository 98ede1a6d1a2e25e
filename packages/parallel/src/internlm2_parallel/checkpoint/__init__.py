"""Sharded checkpoints that are whole or not there, and that any other layout can read.

    step-100.ckpt/
      __0_0.distcp ...     tensors: weights and optimizer state under their names, each rank its part (torch DCP)
      .metadata            which part lies where
      trainer.pt           loops, schedules, callbacks, loaders: what Lightning knows, from the first rank
      rank-N.pt            random state and loader position of rank N, read back where the layout is the same
      manifest.json        size and SHA-256 of every file, written last

The folder is written beside its target under a draft's name and renamed when its manifest is complete: a folder with
the final name is whole. Tensors are keyed by weight name, optimizer state too, so that pipeline stages never collide
and any number of ranks reads them.
"""

from internlm2_parallel.checkpoint.folder import completed, damage
from internlm2_parallel.checkpoint.one_file import as_one_file
from internlm2_parallel.checkpoint.policy import CheckpointPolicy

__all__ = ["CheckpointPolicy", "as_one_file", "completed", "damage"]
