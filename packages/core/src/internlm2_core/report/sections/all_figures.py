"""Every figure of every task, whatever its kind, beside what was published for the released models."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from internlm2_records.report import Block, Column, Found, Row, Table, Text, Value

ABOUT = frozenset({"kind", "version", "seconds", "seed", "samples"})
"""Keys of a task that are not figures."""
NOT_COMPARABLE = (
    "Published figures were measured by {setting}, in percent ({source}). Where prompts, shots or scoring differ from "
    "those that the run states, they are not comparable."
)
HEADLINES: Mapping[str, Sequence[str]] = {
    "held_out_loss": ("overall › bits_per_byte",),
    "needle": ("overall › accuracy",),
    "instructions": ("accuracy",),
    "contamination": ("delta1", "delta2"),
    "retrieval": ("overall › score", "overall › effective_length › tokens"),
}
"""What is repeated here of kinds that have a section of their own."""
DEEP = 3
"""Levels of mappings in which headlines are."""
MOST = 60
"""Figures of one task that are shown. ``report.json`` holds all."""

SUFFIXES = re.compile(r"[_-]?(\d+[_-]?shot|chat|cot|instruct|zeroshot|fewshot|generative|hendrycks)$")


@dataclass(frozen=True)
class Published:
    """A figure that others have published.

    Attributes:
        task: Name of the task, as the suite calls it.
        model: Whose figure it is.
        value: The figure, as it was printed.
        setting: How it was measured, as far as that is known.
        source: Where it was printed.
    """

    task: str
    model: str
    value: float
    setting: str
    source: str


def show_figures(found: Sequence[Found], published: Sequence[Published]) -> Iterator[Block]:
    """A table of figures by task and model.

    Args:
        found: Evaluations.
        published: What others have published.
    """
    yield Text("What each task measured, by model. Shares are of 1, unless the name says otherwise.")
    names = list(dict.fromkeys(name for each in found for name in each.figures["tasks"]))
    columns = [Column(each.title) for each in found]
    rows, left_out = [], 0
    for name in names:
        tasks = [each.figures["tasks"].get(name) for each in found]
        parts = [dict(leaves(task, depth=DEEP if task["kind"] in HEADLINES else 2)) if task else {} for task in tasks]
        kind = next(task["kind"] for task in tasks if task)
        wanted = HEADLINES.get(kind)
        keys = [key for key in dict.fromkeys(key for part in parts for key in part) if not wanted or key in wanted]
        left_out += max(0, len(keys) - MOST)
        rows.append(Row(name, [None] * len(found), small="" if kind == name else kind, strong=True))
        rows += [Row(key, [part.get(key) for part in parts], level=1) for key in keys[:MOST]]
    note = f"{left_out} more figures are in report.json." if left_out else ""
    yield Table("", "task", columns, rows, note)
    yield from _published(names, published)


def leaves(task: Mapping[str, Any], prefix: str = "", depth: int = 2) -> Iterator[tuple[str, Value]]:
    """Numbers of a task by the keys that lead to them. A ``value`` beside a ``name`` is called by that name.

    Args:
        task: Its figures.
        prefix: What they are below.
        depth: Levels of mappings that are opened.
    """
    for key, value in task.items():
        if not prefix and key in ABOUT:
            continue
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{prefix}{key}", value
        elif isinstance(value, Mapping) and "name" in value and isinstance(value.get("value"), int | float):
            yield f"{prefix}{value['name']}", value["value"]
        elif isinstance(value, Mapping) and depth > 1:
            yield from leaves(value, f"{prefix}{key} › ", depth - 1)


def same_task(name: str) -> str:
    """A task's name without what suites add to it: ``mmlu_5shot`` is ``mmlu``."""
    plain = name.lower()
    while (shorter := SUFFIXES.sub("", plain)) != plain:
        plain = shorter
    return re.sub(r"[^a-z0-9]", "", plain)


def _published(names: Sequence[str], published: Sequence[Published]) -> Iterator[Block]:
    """Figures of others for the tasks that were run."""
    wanted = {same_task(name): name for name in names}
    shown = [figure for figure in published if figure.task in wanted]
    for source in dict.fromkeys((figure.setting, figure.source) for figure in shown):
        own = [figure for figure in shown if (figure.setting, figure.source) == source]
        models = list(dict.fromkeys(figure.model for figure in own))
        values = {(figure.task, figure.model): figure.value for figure in own}
        rows = [
            Row(wanted[task], [values.get((task, model)) for model in models])
            for task in dict.fromkeys(figure.task for figure in own)
        ]
        columns = [Column(model, "points", compared=False) for model in models]
        yield Table("Published", "task", columns, rows, NOT_COMPARABLE.format(setting=source[0], source=source[1]))
