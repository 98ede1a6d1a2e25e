import json

import pytest
from internlm2_align.preferences.comparison import (
    Comparison,
    Judgement,
    comparison_record,
    judged,
    preference_records,
    read_comparisons,
)
from internlm2_align.preferences.sources import read_preferences

PROMPT = ({"role": "user", "content": "2 + 2 = ?"},)
TIME = "2026-01-01T00:00:00+00:00"
ASKED = Comparison("q1", "maths", PROMPT, ("5", "4"), {"language": "zh", "gold": "second"})


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_comparisons_round_trip_and_are_named_by_what_they_ask(tmp_path):
    nameless = {"prompt": "2 + 2 = ?", "replies": ["4", "5"], "domain": "maths", "language": "zh"}
    first, second = read_comparisons(write(tmp_path / "c.jsonl", comparison_record(ASKED), nameless))
    assert first == ASKED
    assert second.prompt == PROMPT and second.language == "zh"
    assert second.id == read_comparisons(tmp_path / "c.jsonl")[1].id != first.id


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"replies": ["4"]}, "replies must be two, not 1"),
        ({"replies": ["4", "4 "]}, "the two replies are the same"),
        ({"domain": ""}, "domain='' must be the name of a condition prompt"),
        ({}, "id='q1' is there twice"),
    ],
)
def test_what_does_not_fit_is_named_with_its_line(tmp_path, change, words):
    path = write(tmp_path / "c.jsonl", comparison_record(ASKED), comparison_record(ASKED) | change)
    with pytest.raises(ValueError, match=words) as caught:
        read_comparisons(path)
    assert "line 2" in str(caught.value)


def test_a_verdict_becomes_a_pair_with_annotator_and_time(tmp_path):
    judgement = Judgement("q1", "second", "Li Lei", TIME, 0.5, "5 is wrong")
    path = write(tmp_path / "p.jsonl", *preference_records({"q1": ASKED}, {"q1": judgement}))
    [pair] = read_preferences(path)
    assert (pair.chosen, pair.rejected, pair.domain, pair.source) == ("4", "5", "maths", "Li Lei")
    assert pair.meta == {
        "language": "zh",
        "comparison": "q1",
        "annotator": "Li Lei",
        "time": TIME,
        "score_gap": 0.5,
        "remark": "5 is wrong",
    }


@pytest.mark.parametrize("verdict", ["tie", "both_bad", "skip"])
def test_other_verdicts_make_no_pair(verdict):
    assert judged(ASKED, Judgement("q1", verdict, "a", TIME)) is None


def test_a_judgement_is_checked():
    with pytest.raises(ValueError, match="verdict='left' must be one of first, second, tie, both_bad, skip"):
        Judgement("q1", "left", "a", TIME)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="margin=2 must be from 0 to 1"):
        Judgement("q1", "tie", "a", TIME, 2)
