from collections import Counter

import pytest
from internlm2_align.reward.preference import Preference, read_preferences, usable, write_preferences

PROMPT = ({"role": "user", "content": "2 + 2 = ?"},)
GOOD = Preference("maths", PROMPT, "4", "5", "test", {"language": "zh", "margin": 0.5})


def test_records_round_trip(tmp_path):
    path = tmp_path / "p.jsonl"
    assert write_preferences(path, [GOOD, GOOD]) == 2
    assert list(read_preferences(path)) == [GOOD, GOOD]
    assert GOOD.language == "zh" and GOOD.margin == 0.5


BAD = {
    "identical": Preference("maths", PROMPT, "4", " 4\n"),
    "empty_reply": Preference("maths", PROMPT, "4", "  "),
    "empty_prompt": Preference("maths", (), "4", "5"),
}


def test_unusable_pairs_are_counted_and_skipped():
    counts = Counter()
    assert list(usable([GOOD, *BAD.values(), GOOD], counts)) == [GOOD, GOOD]
    assert counts == {"used": 2, "identical": 1, "empty_reply": 1, "empty_prompt": 1}


@pytest.mark.parametrize("defect", BAD)
def test_or_refused(defect):
    with pytest.raises(ValueError, match=defect):
        list(usable([BAD[defect]], Counter(), on_bad="raise"))


def test_bad_files_name_the_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="preferences=PATH"):
        list(read_preferences(tmp_path / "none.jsonl"))
    path = tmp_path / "bad.jsonl"
    for content in ("not json", '{"domain": "maths"}', "[1]"):
        path.write_text("\n" + content + "\n")
        with pytest.raises(ValueError, match="Line 2"):
            list(read_preferences(path))
