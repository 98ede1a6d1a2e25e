import json
from pathlib import Path

from internlm2_data.report import PART, funnel_rows
from internlm2_data.report.planted import planted_rows
from internlm2_records.report import Found, Table


def stage(name: str, num_bytes: int, **dropped: int) -> dict:
    reasons = {rule: {"zh-news": count - 1, "en-web": 1} for rule, count in dropped.items()}
    counts = {"documents": {"zh-news": num_bytes // 10}, "bytes": {"zh-news": num_bytes}, "dropped": reasons}
    return {"stage": name, **counts, "not_configured": ["toxicity"] if name == "safe" else [], "faults": ["x"]}


def test_rows_of_a_funnel() -> None:
    first, clean, safe = funnel_rows(
        [stage("format", 400), stage("clean", 100, a=5, b=9, c=7, d=2, e=1), stage("safe", 100)]
    )
    assert first.cells[:4] == [40, 400, 1.0, 0]
    assert clean.cells[:4] == [10, 100, 0.25, 24]
    assert clean.cells[4].value == "b 9, c 7, a 5, d 2"
    assert safe.cells[4].small == "not configured: toxicity"
    assert funnel_rows([]) == []


def test_planted_pages_are_counted_by_what_dropped_them() -> None:
    begun = {"stage": "format", "documents": {"en-planted-toxicity": 3, "zh-planted-toxicity": 1, "en-web": 9}}
    safe = {"stage": "safe", "documents": {"en-planted-toxicity": 1, "en-web": 7}, "dropped": {
        "safety.toxicity": {"en-planted-toxicity": 2, "en-web": 2}, "safety.words": {"zh-planted-toxicity": 1},
    }}  # fmt: skip
    [row] = planted_rows([{**begun, "dropped": {}}, safe])
    assert (row.label, row.cells) == ("toxicity", [4, 0.75, "safety.toxicity 2, safety.words 1"])
    assert planted_rows([stage("format", 10)]) == []


def test_faults_stay_outside_the_report(tmp_path: Path) -> None:
    (tmp_path / "funnel.json").write_text(json.dumps({"stages": [stage("format", 10)], "shares": {"a": 1.0}}))
    assert "faults" not in PART.readers["funnel"](tmp_path / "funnel.json", {})["stages"][0]


def test_other_vocabularies_are_shown_on_the_same_texts() -> None:
    card = {"size": 2048, "bytes_per_token": {"en": 2.5, "zh": 2.0, "other": 0.0}, "sample_bytes": {"en": 10}}
    card["others"] = {"InternLM2": {"size": 92544, "bytes_per_token": {"en": 4.0}}}
    [section] = [section for section in PART.sections if section.name == "tokenizer"]
    [table] = [block for block in section.show([Found("vocabulary", "v", card)]) if isinstance(block, Table)]
    assert [column.name for column in table.columns] == ["bytes a token", "InternLM2", "MB sampled"]
    assert [(row.label, list(row.cells)) for row in table.rows] == [("en", [2.5, 4.0, 10]), ("zh", [2.0, None, None])]
    assert "InternLM2 92,544" in table.note
