"""The funnel as a picture: a bar a stage, of the bytes it left by cell, and the bytes it dropped by rule."""

from collections.abc import Sequence
from html import escape
from typing import Any

WIDTH, LEFT, BAR, GAP = 900, 120, 26, 34
COLOURS = ("#2a5b8c", "#c8553d", "#588157", "#8e6c8a", "#d4a373", "#457b9d", "#9a8c98", "#6d6875", "#b5838d", "#3d405b")


def draw(reports: Sequence[dict[str, Any]]) -> str:
    """An SVG picture that needs no other file."""
    cells = sorted({cell for report in reports for cell in report["bytes"]})
    colours = {cell: COLOURS[place % len(COLOURS)] for place, cell in enumerate(cells)}
    largest = max((sum(report["bytes"].values()) + _dropped(report) for report in reports), default=1) or 1
    parts, y = [], 30
    for report in reports:
        parts += _bar(report, y, (WIDTH - LEFT - 20) / largest, colours)
        y += BAR + GAP
    for place, cell in enumerate(cells):
        x = LEFT + 150 * (place % 5)
        top = y + 18 * (place // 5)
        parts.append(f'<rect x="{x}" y="{top - 10}" width="12" height="12" fill="{colours[cell]}"/>')
        parts.append(f'<text x="{x + 17}" y="{top}">{escape(cell)}</text>')
    height = y + 18 * (len(cells) // 5 + 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="sans-serif" font-size="12">'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
        f'<text x="{LEFT}" y="16">bytes kept by language and source; striped: dropped</text>'
        '<defs><pattern id="gone" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        '<rect width="6" height="6" fill="#eee"/><rect width="2" height="6" fill="#bbb"/></pattern></defs>'
        f"{''.join(parts)}</svg>"
    )


def _bar(report: dict[str, Any], y: int, scale: float, colours: dict[str, str]) -> list[str]:
    parts, x = [f'<text x="8" y="{y + 17}">{escape(report["stage"])}</text>'], float(LEFT)
    for cell, size in report["bytes"].items():
        title = f"<title>{escape(cell)}: {size / 1e6:.2f} MB, {report['documents'][cell]} documents</title>"
        parts.append(
            f'<rect x="{x:.1f}" y="{y}" width="{size * scale:.1f}" height="{BAR}" fill="{colours[cell]}">{title}</rect>'
        )
        x += size * scale
    gone = _dropped(report)
    parts.append(f'<rect x="{x:.1f}" y="{y}" width="{gone * scale:.1f}" height="{BAR}" fill="url(#gone)"/>')
    rules = {rule: sum(cells.values()) for rule, cells in report["dropped_bytes"].items()}
    main = ", ".join(f"{rule} {rules[rule] / 1e6:.2f}" for rule in sorted(rules, key=lambda rule: -rules[rule])[:4])
    kept = sum(report["bytes"].values()) / 1e6
    note = f"{kept:.2f} MB kept" + (f"; dropped (MB): {main}" if main else "")
    parts.append(f'<text x="{LEFT}" y="{y + BAR + 14}" fill="#555">{escape(note)}</text>')
    return parts


def _dropped(report: dict[str, Any]) -> int:
    return sum(sum(cells.values()) for cells in report["dropped_bytes"].values())
