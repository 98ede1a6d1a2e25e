"""The table "report section -> file and command" names files that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_file_is_there() -> None:
    rows = [line.split("|") for line in (ROOT / "docs/report-sections.md").read_text().splitlines() if line[:2] == "| "]
    named = [(row[1], name) for row in rows for name in re.findall(r"`([\w./]+)`", row[3]) if "/" in name]
    assert len(named) > 15
    places = [ROOT, *ROOT.glob("packages/*/src")]
    assert not [name for _, name in named if not any((place / name).exists() for place in places)]
