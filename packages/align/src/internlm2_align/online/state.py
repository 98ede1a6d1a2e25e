"""Where a run of rounds is, on disk: which part of which round is at work, done, or waits for labels."""

import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.written import write_json

from internlm2_align.labelling.labels import Labels

FILE = "state.json"
PARTS = ("reward", "ppo", "audit", "labels", "done")
"""What a run is at, in the order of a round."""


def write_state(root: Path, round_: int, part: str, status: str, **more: Any) -> None:
    """Say where the run is.

    Args:
        root: Folder of the run.
        round_: From 1.
        part: One of `PARTS`.
        status: The same in a sentence.
        **more: What else a program may want to know.
    """
    write_json(root / FILE, {"round": round_, "part": part, "status": status, **more})


def read_state(root: Path) -> dict[str, Any]:
    """Where a run is. Empty if it has not begun."""
    file = root / FILE
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def finished(folder: Path) -> dict[str, Any] | None:
    """What a finished part has written last, or None."""
    file = folder / "metrics.json"
    if not file.is_file():
        return None
    figures: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return figures


def label_command(comparisons: Path, labels: Path, conditions: Path) -> str:
    """What is typed to have people label.

    Args:
        comparisons: File of what is asked.
        labels: Folder of the answers.
        conditions: File of condition prompts, which the page shows.
    """
    words = ["internlm2", "label", "annotator=people", f"input={comparisons}", f"output={labels}"]
    return shlex.join([*words, f"annotator.conditions={conditions}"])


def waiting(round_: int, labels: Labels, lacking: Mapping[str, tuple[int, int]], command: str) -> str:
    """The sentence that says what a run waits for.

    Args:
        round_: From 1.
        labels: What is there.
        lacking: Labels there and wanted, by domain.
        command: What is typed to label.
    """
    parts = ", ".join(f"{domain} has {there} of {wanted}" for domain, (there, wanted) in lacking.items())
    reasons = labels.counts([*labels.wanted()])["failed"]
    said = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    failed = f" The annotator failed on {len(labels.failures)} ({said})." if reasons else ""
    return (
        f"Round {round_} waits for labels: {parts}.{failed} Label with `{command}`, then start this run again. It "
        "continues when there are enough."
    )
