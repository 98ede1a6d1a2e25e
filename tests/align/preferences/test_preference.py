import json
import re

import pytest
from internlm2_align.preferences.preference import Preference, to_record
from internlm2_align.preferences.sources import read_preferences

PROMPT = ({"role": "user", "content": "2 + 2 = ?"},)
GOOD = Preference("maths", PROMPT, "4", "5", "test", {"language": "zh", "margin": 0.5})


CALL = {"role": "assistant", "content": "4", "tool_call": {"tool": "<|interpreter|>", "content": "2 + 2"}}


def write(path, *records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_records_round_trip(tmp_path):
    pairs = [GOOD, Preference("maths", PROMPT, CALL, "4")]
    path = write(tmp_path / "p.jsonl", *map(to_record, pairs))
    found = list(read_preferences(path))
    assert found == pairs and found[1].where == f"{path}, line 2"
    assert GOOD.language == "zh" and GOOD.margin == 0.5


def test_prompts_and_replies_may_be_texts_or_messages(tmp_path):
    reply = {"role": "assistant", "content": "4"}
    record = to_record(GOOD) | {"prompt": "2 + 2 = ?", "chosen": [reply], "rejected": reply | {"content": "5"}}
    assert list(read_preferences(write(tmp_path / "p.jsonl", record))) == [GOOD]


def test_pairs_that_differ_in_the_call_alone_are_not_identical():
    other = CALL | {"tool_call": CALL["tool_call"] | {"content": "2 * 2"}}
    assert Preference("maths", PROMPT, CALL, other).defect() is None
    assert Preference("maths", PROMPT, CALL, "4").defect() is None
    assert Preference("maths", PROMPT, CALL, dict(CALL)).defect() == "identical"
    assert Preference("maths", PROMPT, CALL | {"content": ""}, "4").defect() is None


WRONG = {
    "lacks 'prompt'. It has": {"domain": "maths", "chosen": "4", "rejected": "5"},
    "7 is neither a text nor": {"chosen": 7},
    "must be a text or one message of the assistant, not user: '4'": {"chosen": {"role": "user", "content": "4"}},
    "content=None must be a text": {"prompt": [{"role": "user"}]},
    "role='narrator' must be one of": {"prompt": [{"role": "narrator", "content": "x"}]},
    "only parts of text": {"prompt": [{"role": "user", "content": [{"type": "image_url"}]}]},
    "meta.margin='big' must be a number": {"meta": {"margin": "big"}},
    "meta.slices='hard' must be a list": {"meta": {"slices": "hard"}},
    "domain=3 must be": {"domain": 3},
}


@pytest.mark.parametrize("match", WRONG)
def test_wrong_records_are_refused_with_file_and_line(tmp_path, match):
    record = WRONG[match] if "lacks" in match else to_record(GOOD) | WRONG[match]
    with pytest.raises(ValueError, match=re.escape(match)) as error:
        list(read_preferences(write(tmp_path / "p.jsonl", to_record(GOOD), record)))
    assert str(error.value).startswith(f"{tmp_path}/p.jsonl, line 2")


def test_defects():
    defects = {
        "identical": Preference("maths", PROMPT, "4", " 4\n"),
        "empty_reply": Preference("maths", PROMPT, "4", "  "),
        "empty_prompt": Preference("maths", (), "4", "5"),
    }
    assert {pair.defect(): pair for pair in defects.values()} == defects and GOOD.defect() is None


def test_bad_files_name_the_line(tmp_path):
    with pytest.raises(FileNotFoundError, match="internlm2 label"):
        list(read_preferences(tmp_path / "none.jsonl"))
    path = tmp_path / "bad.jsonl"
    for content in ("not json", '{"domain": "maths"}', "[1]"):
        path.write_text("\n" + content + "\n")
        with pytest.raises(ValueError, match=r"bad.jsonl, line 2"):
            list(read_preferences(path))
