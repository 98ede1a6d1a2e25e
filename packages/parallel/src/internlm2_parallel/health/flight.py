"""The flight recorder of torch: which collectives each rank has entered, written by a run that hangs and read after it.

NCCL's watchdog pickles its own record. What is written here is JSON, of gloo and NCCL alike.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch._C._distributed_c10d as c10d

RECORDERS = ("_dump_fr_trace_json", "_dump_nccl_trace_json")
"""torch's functions for gloo and NCCL. The second exists where torch was built with it."""


def rank_of(file: Path) -> int:
    """The rank in the name of a file that it has left, ``rank-N.*``."""
    return int(file.name.split(".")[0].removeprefix("rank-"))


def write_flight(file: Path) -> None:
    """Write what this rank's recorders remember.

    Args:
        file: Of this rank, ``rank-N.flight.json``.
    """
    dumps: list[Callable[[], str]] = [getattr(c10d, name) for name in RECORDERS if hasattr(c10d, name)]
    entries = [entry for dump in dumps for entry in json.loads(dump()).get("entries", [])]
    draft = file.with_name(f".{file.name}")
    draft.write_text(json.dumps({"entries": entries}))
    draft.replace(file)


def divergence(folder: Path) -> str | None:
    """Where the records of ranks part: who has not entered a collective that others are in, or entered another one.

    Args:
        folder: With ``rank-N.flight.json`` of several ranks.

    Returns:
        One or two sentences, or None where all ranks that left a record entered the same.
    """
    groups: dict[str, dict[int, dict[int, Mapping[str, Any]]]] = {}
    for file in sorted(folder.glob("rank-*.flight.json")):
        rank = rank_of(file)
        for entry in json.loads(file.read_text("utf-8"))["entries"]:
            if not entry["is_p2p"]:
                name = " ".join(part for part in entry["process_group"] if part)
                groups.setdefault(name, {}).setdefault(rank, {})[entry["collective_seq_id"]] = entry
    found = [sentence for name, ranks in groups.items() if (sentence := parting(name, ranks))]
    return " ".join(found[:2]) or None


def parting(name: str, ranks: Mapping[int, Mapping[int, Mapping[str, Any]]]) -> str | None:
    """The first difference between the ranks of one group, as a sentence.

    Args:
        name: Of the process group.
        ranks: Collectives by rank and number.
    """
    common = set.intersection(*(set(entries) for entries in ranks.values()))
    for number in sorted(common):
        kinds = {rank: entries[number]["profiling_name"] for rank, entries in ranks.items()}
        if len(set(kinds.values())) > 1:
            said = ", ".join(f"rank {rank} {kind}" for rank, kind in kinds.items())
            return f"Collective {number} of group {name} differs: {said}."
    newest = {rank: max(entries) for rank, entries in ranks.items()}
    front = max(newest.values())
    behind = [rank for rank, number in newest.items() if number < front]
    if not behind:
        return None
    first = next(entries[front] for rank, entries in ranks.items() if newest[rank] == front)
    who = ", ".join(f"rank {rank} (at {newest[rank]})" for rank in behind)
    return (
        f"Others are in collective {front} of group {name}, {first['profiling_name']} of {first['input_sizes']}: "
        f"{who} did not enter it."
    )
