"""The row of a reward model beside the published ones."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from internlm2_align.reward_benchmarks.modes import WITH, WITHOUT
from internlm2_align.reward_benchmarks.published import LARGE, MIDDLE, PUBLISHED, SMALL


def table(tasks: Mapping[str, Mapping[str, Any]]) -> Table:
    """Figures in percent.

    Args:
        tasks: What ``metrics.json`` holds of each benchmark.
    """
    found = Table(title="Reward benchmarks, in percent. On the right InternLM2-Reward as published, without conditions")
    found.add_column("benchmark")
    for name in ("items", "ties", "without", "with", "1.8B", "7B", "20B"):
        found.add_column(name, justify="right")
    for about in tasks.values():
        for row in rows(about):
            found.add_row(*row)
    return found


def rows(about: Mapping[str, Any]) -> Iterator[list[str]]:
    """Cells of a benchmark: one row for its score and one for each part that has published figures.

    Args:
        about: What ``metrics.json`` holds of it.
    """
    name, published = about["benchmark"], PUBLISHED.get(about["benchmark"], {})
    modes = [about.get(mode) for mode in (WITHOUT, WITH)]
    some = next(figures for figures in modes if figures)
    ties = " / ".join(str(figures["ties"]) for figures in modes if figures)
    for part in dict.fromkeys(["score", *(part for figures in published.values() for part in figures)]):
        label = [name, str(some["items"]), ties] if part == "score" else [f"  {part}", "", ""]
        ours = [_percent(_figure(figures, part), 100) for figures in modes]
        theirs = [_percent(published.get(model, {}).get(part)) for model in (SMALL, MIDDLE, LARGE)]
        yield [*label, *ours, *theirs]


def _figure(figures: Mapping[str, Any] | None, part: str) -> float | None:
    if figures is None:
        return None
    found: float | None = figures.get(part, figures.get("sections", {}).get(part))
    return found


def _percent(value: float | None, times: float = 1) -> str:
    return "" if value is None else f"{times * value:.1f}"
