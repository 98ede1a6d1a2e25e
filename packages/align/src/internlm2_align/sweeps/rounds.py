"""One table and one plot of a sweep of online RLHF: reward and named patterns, round by round."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from internlm2_core.evaluation.written import write_json, write_text

from internlm2_align.sweeps.ppo import plot
from internlm2_align.sweeps.table import as_json, columns_of, differences, markdown, read_runs, table

COURSE = ("reward", "judged", "patterns", "shown")
"""Of the late replies of a round: mean reward by its reward model, the annotator's score where it scores, how many
patterns are named, and in what share of replies those are shown that were named by then."""


def figures(job: Path) -> dict[str, float]:
    """The figures of `COURSE` in each round, as ``NAME@ROUND``.

    Args:
        job: Folder of the run.

    Raises:
        ValueError: If the run waits for labels.
    """
    file = job / "metrics.json"
    if not file.is_file():
        raise ValueError(f"{job} has no metrics.json: it waits for labels. Take an annotator that judges at once.")
    rounds = json.loads(file.read_text(encoding="utf-8"))["rounds"]
    return {f"{name}@{entry['round']}": value for entry in rounds for name, value in _round(entry).items()}


def _round(entry: Mapping[str, Any]) -> dict[str, float]:
    late, patterns = entry["audit"]["models"]["late"], entry["audit"]["patterns"]
    found = {name: late[name] for name in ("reward", "judged") if name in late} | {"patterns": len(patterns)}
    shown = [pattern["late"] for pattern in [*patterns, *entry["earlier_patterns"]] if pattern["late"] is not None]
    return found | ({"shown": mean(shown)} if shown else {})


def summarise(folder: Path, jobs: Sequence[Path]) -> None:
    """Write ``ablation.json``, ``ablation.md`` and, with matplotlib, ``ablation.png`` into a sweep's folder.

    Args:
        folder: Of the sweep.
        jobs: Folders of its finished jobs.

    Raises:
        ValueError: If no run has finished, or one waits for labels.
    """
    runs = read_runs(jobs, figures)
    rows, gaps = table(runs), differences(runs)
    content = {
        "schema": "internlm2/align/rounds-ablation/1",
        "seeds": sorted({run.seed for run in runs}),
        "rounds": as_json(rows),
        "differences": as_json(gaps),
    }
    write_json(folder / "ablation.json", content)
    text = markdown(rows | gaps, columns_of(rows), digits=3)
    write_text(folder / "ablation.md", text)
    print(text)
    plot(rows, folder / "ablation.png", COURSE, "round")
