"""Nodes that failed in a run, in a record in its folder, so that a node that failed twice is left out.

A job that waits in Slurm's queue cannot learn of it: ``scontrol`` changes the excluded nodes of no running job, and
Slurm ends a job as soon as it is put back. So the list is read when a job is submitted (``--exclude``) or when a node
joins.
"""

import json
import os
import socket
import time
from pathlib import Path

from internlm2_parallel.attempts import ATTEMPT

RECORD = "nodes.jsonl"


def host() -> str:
    """The name by which a scheduler knows this node."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname().split(".")[0]


def attempt() -> str:
    """What tells the attempts of a run apart and is the same on all its ranks."""
    if ATTEMPT in os.environ:
        return os.environ[ATTEMPT]
    names = ["SLURM_JOB_ID", "SLURM_RESTART_COUNT", "TORCHELASTIC_RUN_ID", "MASTER_PORT"]
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "False":
        # Else each attempt has a port of its own, and nodes that have joined at different times count differently.
        names.append("TORCHELASTIC_RESTART_COUNT")
    return ".".join(os.environ.get(name, "") for name in names)


def note_failure(folder: Path, node: str, cause: str) -> None:
    """Add a line to the record.

    Args:
        folder: Of the record, on a file system that all ranks see.
        node: That failed.
        cause: In words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps({"node": node, "attempt": attempt(), "cause": cause, "time": int(time.time())}) + "\n"
    with (folder / RECORD).open("a", encoding="utf-8") as file:  # one short write: lines of ranks do not mix
        file.write(line)


def failed_nodes(folder: str | Path, times: int = 2) -> list[str]:
    """Nodes that failed in several attempts of a run.

    Args:
        folder: Of the record. Without one, no node failed.
        times: Attempts in which a node failed. Several ranks of one attempt count once.
    """
    record = Path(folder) / RECORD
    if not record.is_file():
        return []
    attempts: dict[str, set[str]] = {}
    for line in record.read_text("utf-8").splitlines():
        entry = json.loads(line)
        attempts.setdefault(entry["node"], set()).add(entry["attempt"])
    return sorted(node for node, failed in attempts.items() if len(failed) >= times)
