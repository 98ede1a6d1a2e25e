"""The tables of a report: figures of several sources side by side."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from internlm2_core.report.source import Loaded

Row = dict[str, Any]


def tasks_of(evaluations: Sequence[Loaded], kind: str) -> dict[str, list[tuple[Loaded, Mapping[str, Any]]]]:
    """The sources that ran a task and its figures, by the task's name in the suite.

    Args:
        evaluations: Sources of ``evaluate``.
        kind: Kind of the task.
    """
    found: dict[str, list[tuple[Loaded, Mapping[str, Any]]]] = {}
    for loaded in evaluations:
        for name, task in loaded.figures.get("tasks", {}).items():
            if task["kind"] == kind:
                found.setdefault(name, []).append((loaded, task))
    return found


def ordered(names: Iterator[str] | Sequence[str]) -> list[str]:
    """Each name once, in the order of first appearance."""
    return list(dict.fromkeys(names))


def held_out_tables(evaluations: Sequence[Loaded]) -> list[Row]:
    """A table for each held-out task: sources by languages, and sources by kinds of text."""
    tables = []
    for name, ran in tasks_of(evaluations, "held_out_loss").items():
        for part in ("languages", "sources"):
            columns = ordered([column for _, task in ran for column in task[part]])
            rows = [
                {
                    "title": loaded.source.title,
                    "cells": [task[part].get(c) for c in columns],
                    "overall": task["overall"],
                }
                for loaded, task in ran
            ]
            contexts = ordered([str(task["context"]) for _, task in ran])
            tables.append({"name": name, "part": part, "contexts": contexts, "columns": columns, "rows": rows})
    return tables


def needle_views(evaluations: Sequence[Loaded]) -> list[Row]:
    """For each needle task the grids of every source."""
    return [
        {"name": name, "rows": [{"title": loaded.source.title, "task": task} for loaded, task in ran]}
        for name, ran in tasks_of(evaluations, "needle").items()
    ]


def instruction_tables(evaluations: Sequence[Loaded]) -> list[Row]:
    """For each instruction task: its tasks by sources."""
    tables = []
    for name, ran in tasks_of(evaluations, "instructions").items():
        tasks = ordered([task for _, figures in ran for task in figures["tasks"]])
        rows = [{"title": "all", "cells": [figures for _, figures in ran]}]
        rows += [{"title": task, "cells": [figures["tasks"].get(task) for _, figures in ran]} for task in tasks]
        tables.append({"name": name, "columns": [loaded.source.title for loaded, _ in ran], "rows": rows})
    return tables


def contamination_rows(evaluations: Sequence[Loaded]) -> list[Row]:
    """Losses of the three sets and their differences, per source."""
    return [
        {"title": loaded.source.title, "task": task}
        for ran in tasks_of(evaluations, "contamination").values()
        for loaded, task in ran
    ]


def funnel_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Stages of a pipeline: documents, bytes, share of the first stage's bytes, reasons for dropping."""
    first = sum(figures["stages"][0]["bytes"].values()) if figures["stages"] else 0
    rows = []
    for stage in figures["stages"]:
        num_bytes = sum(stage["bytes"].values())
        reasons = {rule: sum(cells.values()) for rule, cells in stage["dropped"].items()}
        rows.append(
            {
                "stage": stage["stage"],
                "documents": sum(stage["documents"].values()),
                "bytes": num_bytes,
                "share": num_bytes / first if first else 0.0,
                "dropped": sum(reasons.values()),
                "reasons": sorted(reasons.items(), key=lambda item: -item[1])[:3],
                "not_configured": stage["not_configured"],
            }
        )
    return rows


def reward_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Domains of a reward model, each followed by its slices."""
    rows = []
    for domain, part in ((figures["heldout"] or {}).get("domains") or {}).items():
        rows.append({"title": domain, "is_slice": False, **part})
        rows += [{"title": name, "is_slice": True, **cut} for name, cut in part.get("slices", {}).items()]
    return rows


def ppo_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Held-out reward and judge's score before PPO and at the best iteration, over all and by domain."""
    start, best = figures["start"], figures["best"]
    domains = [key.removeprefix("valid/reward/") for key in start if key.startswith("valid/reward/")]
    names = [("all", ""), *((domain, f"/{domain}") for domain in domains)]
    return [
        {
            "title": title,
            "reward": [start.get(f"valid/reward{tail}"), best.get(f"valid/reward{tail}")],
            "judge": [start.get(f"valid/judge{tail}"), best.get(f"valid/judge{tail}")],
        }
        for title, tail in names
    ]


def round_rows(figures: Mapping[str, Any]) -> list[Row]:
    """Rounds of online RLHF: what its reward model and its PPO reached, and what the audit after it found."""
    rows = []
    for entry in figures["rounds"]:
        held = (entry["reward"] or {}).get("heldout") or {}
        start, best = entry["ppo"]["start"], entry["ppo"]["best"]
        rows.append(
            {
                "round": entry["round"],
                "accuracy": held.get("accuracy"),
                "reward": [start.get("valid/reward"), best.get("valid/reward")],
                "judge": [start.get("valid/judge"), best.get("valid/judge")],
                "fast": entry["audit"]["fast_pairs"],
                "slow": entry["audit"]["slow_pairs"],
                "patterns": entry["audit"]["patterns"],
                "earlier": entry.get("earlier_patterns") or [],
                "fast_accuracy": entry.get("fast_accuracy"),
            }
        )
    return rows
