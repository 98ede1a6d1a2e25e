"""The page of errors quotes sentences that the code still says."""

import re
from pathlib import Path


def test_quoted_messages_are_in_the_code(root: Path) -> None:
    rows = re.findall(r"^\| `([^`]+)`", (root / "docs/errors.md").read_text(encoding="utf-8"), re.M)
    of_others = {"CUDA out of memory", "line N"}
    files = [*root.glob("conf/*.py"), *root.glob("packages/*/src/**/*.py")]
    code = "\n".join(file.read_text(encoding="utf-8") for file in files)
    assert len(rows) > 8
    assert [row for row in rows if row not in code and row not in of_others] == []
