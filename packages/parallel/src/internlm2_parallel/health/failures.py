"""A callback that keeps the record of failed nodes."""

import logging
import traceback
from pathlib import Path

import lightning as L

from internlm2_parallel.health.diagnosis import diagnose
from internlm2_parallel.health.nodes import failed_nodes, host, note_failure

log = logging.getLogger(__name__)
OF_NODES = ("broken GPU", "node failed", "out of host memory")
"""Causes that another node may not have."""


class FailedNodes(L.Callback):
    """Notes this node where it fails, and says at the start that it failed before.

    Args:
        folder: Of the record, on a file system that all ranks see.
        times: Attempts from which on a node is to be left out.

    Raises:
        ValueError: If ``times`` is below one.
    """

    def __init__(self, folder: str | Path, times: int = 2) -> None:
        if times < 1:
            raise ValueError(f"times={times} must be 1 or more.")
        self.folder, self.times = Path(folder), times

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Warn of a node that the scheduler gave in spite of the record."""
        if trainer.local_rank == 0 and host() in (failed := failed_nodes(self.folder, self.times)):
            log.warning("This run failed on %s %d times or more. Leave out %s.", host(), self.times, ",".join(failed))

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        """Note a failure that may be the node's."""
        cause = diagnose("".join(traceback.format_exception_only(exception)))
        if cause is not None and cause.name in OF_NODES:
            note_failure(self.folder, host(), cause.name)
