"""The charts of a report: which series go together, under which title."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from internlm2_core.report.lines import Line, line_chart


@dataclass(frozen=True)
class Chart:
    """A chart with its words.

    Attributes:
        title: What is drawn.
        svg: The drawing.
        legend: Label and colour number of each series.
        note: How it was drawn, where that matters.
        simulated: Whether it is drawn from what the simulated annotator said.
    """

    title: str
    svg: str
    legend: Sequence[tuple[str, int]]
    note: str = ""
    simulated: bool = False


def chart(title: str, lines: Sequence[Line], x_label: str, note: str = "", simulated: bool = False) -> Chart | None:
    """A chart of the lines that have points, or None if there are none.

    Args:
        title: What is drawn.
        lines: One line for each series.
        x_label: What runs to the right, with its unit.
        note: How it was drawn, where that matters.
        simulated: Whether it is drawn from what the simulated annotator said.
    """
    drawn = [line for line in lines if len(line.xs)]
    if not drawn:
        return None
    return Chart(
        title, line_chart(drawn, x_label, title), [(line.label, line.color) for line in drawn], note, simulated
    )


def curve_charts(figures: Mapping[str, Any]) -> list[Chart]:
    """One chart for each named column of a CSV file."""
    charts = []
    for label, series in figures["series"].items():
        rows = series["rows_per_point"]
        note = f"each point is the mean of {rows} logged values" if rows > 1 else ""
        charts.append(chart(label, [Line(label, series["steps"], series["values"])], "optimizer steps", note))
    return [found for found in charts if found]


PPO_CHARTS = (
    ("Reward model's score", (("train/reward", "training prompts"), ("valid/reward", "held-out prompts"))),
    (
        "Divergence from the SFT model, nats a response",
        (("train/kl", "training prompts"), ("valid/kl", "held-out prompts")),
    ),
    ("Tokens of a response", (("train/length", "training prompts"), ("valid/length", "held-out prompts"))),
    ("Critic's explained variance", (("train/explained_variance", "training prompts"),)),
    ("Pre-train loss, nats a token", (("train/pretrain_loss", "pre-training text"),)),
)


def ppo_charts(figures: Mapping[str, Any], judge: str | None) -> list[Chart]:
    """Course of a PPO run, with the judge's score beside the reward that was optimised.

    Args:
        figures: What ``ppo`` wrote.
        judge: Name of the judge.
    """
    history = figures["history"]
    judged = [_line(history, "valid/judge", "held-out prompts", 1)]
    judge_title = "Simulated annotator's own score" if is_simulated(judge) else f"Score by {judge}"
    charts = [
        chart(title, [_line(history, key, label, color) for color, (key, label) in enumerate(keys)], "iterations")
        for title, keys in PPO_CHARTS
    ]
    charts.insert(1, chart(judge_title, judged, "iterations", simulated=is_simulated(judge)))
    return [found for found in charts if found]


def is_simulated(name: str | None) -> bool:
    """Whether a judge's name says that it is a program in place of people."""
    return name is not None and name.startswith("Simulated")


def _line(history: Sequence[Mapping[str, Any]], key: str, label: str, color: int) -> Line:
    entries = [entry for entry in history if entry.get(key) is not None]
    few = len(entries) <= 40
    return Line(label, [e["iteration"] for e in entries], [e[key] for e in entries], color, dots=few)


def reward_chart(figures: Mapping[str, Any]) -> list[Chart]:
    """Loss and accuracy while a reward model learns."""
    curve = figures.get("curve", [])
    names = (("loss", "Ranking loss with penalty"), ("accuracy", "Accuracy on training pairs"))
    charts = [
        chart(title, [Line(title, [p["step"] for p in curve], [p[key] for p in curve])], "optimizer steps")
        for key, title in names
        if all(key in point for point in curve)
    ]
    return [found for found in charts if found]
