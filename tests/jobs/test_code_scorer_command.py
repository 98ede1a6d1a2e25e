"""`internlm2 code_scorer`, and a pipeline that uses what it wrote."""

import json
from pathlib import Path

import pytest

from tests.command import internlm2

GOOD = "# Adds what is left\nremainder = total(remainder)\n"
TABLE = "1, 2, 3\n"


def repositories(folder: Path, count: int) -> Path:
    for number in range(count):
        files = {"clean.py": GOOD * 4, "numbers.py": TABLE * 20, "other.go": TABLE * 9 + f"package p{number}\n"}
        for name, text in files.items():
            path = folder / f"r{number}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            mark = "//" if name.endswith("go") else "#"
            path.write_text(f"{text}{mark} {number * 7919}\n")
        (folder / f"r{number}" / "pyproject.toml").write_text("[project]\nname = 'r'\n")
    return folder


def test_a_round_and_its_use(tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="extra classifiers of internlm2-data")
    repositories(tmp_path / "src", 12)
    # Near-duplicates of one another, which is not the point here.
    words = ["process", "pipeline=code", "inputs=[src]", "output=code", "pipeline.dedup.settings.threshold=1.0"]
    done = internlm2(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    scorer = ["code_scorer", "inputs=[code/dedup]", "output=scorer", "rounds=1", "folds=3", "trust.labels=5"]
    done = internlm2(*scorer, "labeller=simulated", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "pipeline.quality.scorer.model=scorer/round-1" in done.stdout
    card = json.loads((tmp_path / "scorer/round-1/card.json").read_text())
    assert card["trusted"] == ["python"] and card["labels_by"] == "SIMULATED"
    done = internlm2(*words, "pipeline.quality.scorer.model=scorer/round-1", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (quality,) = (
        s for s in json.loads((tmp_path / "code/funnel.json").read_text())["stages"] if s["stage"] == "quality"
    )
    assert quality["dropped"] == {"code.quality_low": {"python-code": 12}}, "tables of Python, and not those of Go"
    assert quality["documents"] == {"python-code": 12, "go-code": 12}
    assert quality["not_configured"] == []


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    done = internlm2("code_scorer", "output=scorer", folder=tmp_path)
    assert done.returncode != 0 and "inputs=[] must name files or folders" in done.stderr
    (tmp_path / "l.jsonl").write_text('{"text": "a", "language": "go", "label": "high"}\n')
    done = internlm2("code_scorer", "output=scorer", "labels=[l.jsonl]", folder=tmp_path)
    assert done.returncode != 0 and "labelled high are from 1 repositories. With folds=5" in done.stderr
    assert not list((tmp_path / "scorer").glob("round-*"))
