"""Nodes that failed twice in a run are left out when it is submitted again."""

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from hydra.utils import get_method
from omegaconf import DictConfig, open_dict, read_write


class LeavesOutFailedNodes(Callback):
    """Adds the nodes of the records below the output folder to ``hydra.launcher.exclude``, and says so.

    Args:
        read: Name of the function that reads a record.
        times: Attempts in which a node failed.
    """

    def __init__(self, read: str, times: int = 2) -> None:
        self.read, self.times = read, times

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Read the records before the first job is submitted."""
        folder = Path(config.hydra.sweep.dir)
        records = [*folder.glob("health/nodes.jsonl"), *folder.glob("*/health/nodes.jsonl")]
        if not records:
            return
        read = get_method(self.read)  # its imports take seconds, and most runs have no record
        failed = sorted({node for record in records for node in read(record.parent, self.times)})
        if not failed:
            return
        launcher = config.hydra.launcher
        with read_write(launcher), open_dict(launcher):
            launcher.exclude = ",".join([*([launcher.exclude] if launcher.get("exclude") else []), *failed])
        print(f"{', '.join(failed)} failed {self.times} times or more and is left out: exclude={launcher.exclude}.",
              file=sys.stderr)  # fmt: skip
