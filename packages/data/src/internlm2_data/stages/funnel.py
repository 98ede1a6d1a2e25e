"""The funnel: what went in, what came out and why the rest did not, stage by stage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from internlm2_data.cards import write_document_card
from internlm2_data.stages.drawing import draw
from internlm2_data.stages.manifest import write_json


class Funnel:
    """Writes and prints the reports of a run.

    Args:
        reports: One a stage, as `StageRun.reports` holds them.
    """

    def __init__(self, reports: Sequence[dict[str, Any]]) -> None:
        self.reports = list(reports)

    def to_json(self) -> dict[str, Any]:
        """Per stage documents and bytes by cell, drops and rewrites by rule and cell, faults, what was not configured.

        `shares` is the share of each cell in the bytes of the last stage, as in table 1 of the report.
        """
        last = self.reports[-1]["bytes"] if self.reports else {}
        total = sum(last.values())
        shares = {cell: round(count / total, 4) for cell, count in last.items()} if total else {}
        return {"stages": self.reports, "shares": shares}

    def write(self, folder: Path) -> None:
        """Write `funnel.json`, `funnel.svg`, and the card of what the last stage left, `README.md`."""
        write_json(folder / "funnel.json", self.to_json())
        (folder / "funnel.svg").write_text(draw(self.reports), "utf-8")
        write_document_card(folder, self.reports)

    def show(self, console: Console | None = None) -> None:
        """Print it as a table."""
        table = Table(title="documents and megabytes by stage")
        for column in ("stage", "documents", "MB", "tokens", "dropped", "main reasons", "not configured"):
            table.add_column(column, justify="left" if column in ("stage", "main reasons") else "right")
        for report in self.reports:
            reasons = {rule: sum(cells.values()) for rule, cells in report["dropped"].items()}
            main = sorted(reasons, key=lambda rule: -reasons[rule])[:3]
            table.add_row(
                report["stage"],
                str(sum(report["documents"].values())),
                f"{sum(report['bytes'].values()) / 1e6:.2f}",
                str(sum(report["tokens"].values()) or "-"),
                str(sum(reasons.values())),
                ", ".join(f"{rule} {reasons[rule]}" for rule in main),
                ", ".join(report["not_configured"]),
            )
        console = console or Console()
        console.print(table)
        faults = [fault for report in self.reports for fault in report["faults"]]
        show_faults(console, sum(report["num_faults"] for report in self.reports), faults)
        for report in self.reports:
            show_passed(console, report["passed"])


def show_faults(console: Console, count: int, faults: Sequence[dict[str, Any]]) -> None:
    """Print how many things could not be read, and the first of them.

    Args:
        console: Where to print.
        count: Faults in all.
        faults: The first of them.
    """
    if faults:
        first = faults[0]
        where = f"{first['file']} at {first['unit']} {first['offset']}: {first['what']}"
        # Names of files may hold brackets, which are no markup.
        console.print(f"{count} things could not be read, the first: {where}", markup=False)


def show_passed(console: Console, passed: Mapping[str, int]) -> None:
    """Print what was passed over, by reason.

    Args:
        console: Where to print.
        passed: How many things, by reason.
    """
    if passed:
        console.print(f"Passed over: {reasons(passed)}.", markup=False, highlight=False)


def reasons(passed: Mapping[str, int]) -> str:
    """Counts in words, the most frequent reason first.

    Args:
        passed: How many things were passed over, by reason.
    """
    return ", ".join(f"{count} of {reason}" for reason, count in sorted(passed.items(), key=lambda pair: -pair[1]))
