"""Each entry of the results has a record that says where its figures come from, and shows those figures."""

import json
import re
from pathlib import Path
from typing import Any

KEYS = {"what", "command", "commit", "date", "versions", "machine", "figures"}


def sections(root: Path) -> dict[str, str]:
    """Text of the page by the record that it links to."""
    parts = re.split(r"^## ", (root / "docs/results.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    return {re.findall(r"\(results/([\w-]+)\.json\)", part)[-1]: part for part in parts}


def leaves(value: Any) -> list[Any]:
    return [leaf for part in value.values() for leaf in leaves(part)] if isinstance(value, dict) else [value]


def test_every_entry_has_a_record_and_shows_its_figures(root: Path) -> None:
    found = sections(root)
    records = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in root.glob("docs/results/*.json")}
    assert set(found) == set(records) and len(records) > 10
    for name, record in records.items():
        assert set(record) - {"note"} == KEYS, name
        assert all(record[key] for key in KEYS), name
        assert re.fullmatch(r"[0-9a-f]{7,40}", record["commit"]) and re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
        text = found[name]
        for figure in leaves(record["figures"]):
            small = isinstance(figure, float) and 0 < abs(figure) < 1e-3
            shown = f"{figure:.1e}" if small else f"{figure:,}" if isinstance(figure, int) else str(figure)
            assert shown in text, (name, figure)
        assert record["date"] in text and record["commit"] in text
