"""Reward benchmarks beside what was published for the released reward models."""

from collections.abc import Iterator, Sequence

from internlm2_records.report import Block, Column, Found, Row, Table

from internlm2_align.reward_benchmarks.modes import WITH, WITHOUT
from internlm2_align.reward_benchmarks.published import LARGE, MIDDLE, PUBLISHED, SMALL

KIND = "reward_benchmark"
MODELS = (SMALL, MIDDLE, LARGE)
COLUMNS = (
    Column("items", "count"),
    Column("ties", "count"),
    Column("without conditions", "share", better="higher"),
    Column("with conditions", "share", better="higher"),
    *(Column(f"{model}, published", "points", digits=1) for model in MODELS),
)
NOTE = "Published figures are in percent, and without condition prompts. Nobody has published figures with them."


def show_benchmarks(found: Sequence[Found]) -> Iterator[Block]:
    """A table for each reward model that was evaluated."""
    for each in found:
        rows: list[Row] = []
        for name, task in each.figures["tasks"].items():
            if task["kind"] != KIND:
                continue
            published = PUBLISHED.get(task["benchmark"], {})
            modes = [task.get(WITHOUT) or {}, task.get(WITH) or {}]
            counts = [next((mode[key] for mode in modes if key in mode), None) for key in ("items", "ties")]
            parts = dict.fromkeys(["score", *(part for figures in published.values() for part in figures)])
            for part in parts:
                ours = [mode.get(part, mode.get("sections", {}).get(part)) for mode in modes]
                theirs = [published.get(model, {}).get(part) for model in MODELS]
                whole = part == "score"
                cells = [*(counts if whole else (None, None)), *ours, *theirs]
                rows.append(Row(name if whole else part, cells, level=0 if whole else 1))
        if rows:
            yield Table(each.title, "benchmark", COLUMNS, rows, NOTE)
