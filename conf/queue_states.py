"""States of Slurm's jobs on clusters that keep no accounts: ``sacct`` does not answer there, ``squeue`` does.

submitit asks ``sacct`` alone. Without it, a job that was cancelled or that died in the queue is waited for for ever.
"""

import subprocess
import sys
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from submitit.slurm.slurm import SlurmInfoWatcher, SlurmJob

GONE = "NOT_IN_THE_QUEUE"
"""State of a job that was submitted and that the queue no longer holds. It has ended, one way or the other."""


class QueueWatcher(SlurmInfoWatcher):
    """Reads states from ``squeue``, which names jobs that ended for a few minutes more (``MinJobAge``)."""

    def _make_command(self) -> list[str] | None:
        """All jobs of the user: asked for by its number, a job that is gone would be an error."""
        waits = self._registered - self._finished
        return ["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%N"] if waits else None

    def read_info(self, string: bytes | str) -> dict[str, dict[str, str]]:
        """What is known of each job by its number, those that the queue does not hold among them."""
        lines = string if isinstance(string, str) else string.decode()
        found = super().read_info(f"JobID|State|NodeList\n{lines}")
        gone = self._registered - self._finished - found.keys()
        return {**found, **{job: {"JobID": job, "State": GONE} for job in gone}}


class StatesOfJobs(Callback):
    """Has states read from the queue where there are no accounts, and says so once."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Ask ``sacct`` before the first job is submitted."""
        if reason := why_no_accounts():
            print(f"sacct does not answer ({reason}), so states of jobs are read from squeue.", file=sys.stderr)
            SlurmJob.watcher = QueueWatcher(delay_s=60)


def why_no_accounts() -> str:
    """In words. Empty where ``sacct`` answers."""
    try:
        done = subprocess.run(["sacct", "--noheader"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "there is none"
    return done.stderr.strip().rstrip(".") or f"exit code {done.returncode}" if done.returncode else ""
