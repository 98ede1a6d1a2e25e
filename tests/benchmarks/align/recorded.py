"""The record of a benchmark: what docs/results holds beside its entry in docs/results.md."""

import json
import platform
import subprocess
from collections.abc import Mapping
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]


def record(name: str, what: str, command: str, figures: Mapping[str, Mapping[str, Any]]) -> None:
    """Write ``docs/results/NAME.json``, and print the table for the page.

    Args:
        name: Of the record.
        what: What was measured.
        command: What was typed.
        figures: Cells by row and column.
    """
    found = {
        "what": what,
        "command": command,
        "commit": subprocess.check_output(["git", "rev-parse", "--short=7", "HEAD"], text=True, cwd=ROOT).strip(),
        "date": date.today().isoformat(),
        "versions": {
            "python": platform.python_version().rpartition(".")[0],
            "torch": version("torch").partition("+")[0],
            "lightning": version("lightning"),
        },
        "machine": "2 CPU cores, 24 GB, no GPU, one core used, beside other work",
        "figures": figures,
    }
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    (ROOT / "docs/results" / f"{name}.json").write_text(text, encoding="utf-8")
    columns = list(next(iter(figures.values())))
    print("| | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for row, cells in figures.items():
        print(f"| {row} | " + " | ".join(str(cells.get(column, "")) for column in columns) + " |")
