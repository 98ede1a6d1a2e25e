"""Line charts as SVG text. Colours and fonts come from the page, so that a dark page has dark charts."""

import math
from collections.abc import Sequence
from html import escape

from internlm2_records.report import Line

WIDTH, HEIGHT = 440, 230
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 12, 36
COLORS = 6


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that span a range.

    Args:
        low: Its lower end.
        high: Its upper end.
        count: About how many.
    """
    span = high - low or abs(high) or 1.0
    rough = span / max(1, count - 1)
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(m * magnitude for m in (1, 2, 2.5, 5, 10) if m * magnitude >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, max(last, first + 1) + 1)]


def short(value: float) -> str:
    """A tick's label."""
    if value and abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if value and abs(value) < 0.001:
        return f"{value:.2g}".replace("e-0", "e-")
    return f"{value:.4g}"


def line_chart(lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """An SVG element with axes, grid and one polyline per series.

    Args:
        lines: The series, with at least one point among them.
        x_label: What runs to the right, with its unit.
        y_label: What runs upwards, for readers who cannot see.
    """
    xs = [x for line in lines for x in line.xs]
    ys = [y for line in lines for y in line.ys]
    x_low, x_high = min(xs), max(xs) if max(xs) > min(xs) else min(xs) + 1
    y_ticks = ticks(min(ys), max(ys))
    x_ticks = [tick for tick in ticks(x_low, x_high) if x_low <= tick <= x_high]
    if all(x == int(x) for x in xs):  # nothing happens between two rounds
        x_ticks = [tick for tick in x_ticks if tick == int(tick)]

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low)
        up = (y - y_ticks[0]) / (y_ticks[-1] - y_ticks[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(summary(lines, y_label))}">'
    ]
    for tick in y_ticks:
        _, y = place(x_low, tick)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 7}" y="{y + 3.5:.1f}" text-anchor="end">{short(tick)}</text>')
    for tick in x_ticks:
        x, _ = place(tick, y_ticks[0])
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{short(tick)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{escape(x_label)}</text>')
    for number, line in enumerate(lines):
        points = [place(x, y) for x, y in zip(line.xs, line.ys, strict=True)]
        drawn, color = " ".join(f"{x:.1f},{y:.1f}" for x, y in points), color_of(line, number)
        dashes = ' stroke-dasharray="5 3"' if line.dashed else ""
        parts.append(f'<polyline class="series c{color}"{dashes} points="{drawn}"/>')
        if line.dots or len(points) == 1:
            parts += [f'<circle class="dot c{color}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in points]
    return "".join([*parts, "</svg>"])


def color_of(line: Line, number: int) -> int:
    """Number of a line's colour on the page.

    Args:
        line: The line.
        number: Its place in the chart.
    """
    return (number if line.color is None else line.color) % COLORS


def summary(lines: Sequence[Line], y_label: str) -> str:
    """The chart in words: where each series starts and ends.

    Args:
        lines: The series, with at least one point among them.
        y_label: What runs upwards.
    """
    ways = [f"{line.label} from {short(line.ys[0])} to {short(line.ys[-1])}" for line in lines if len(line.ys)]
    return f"{y_label}: {'; '.join(ways)}"
