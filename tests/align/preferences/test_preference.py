import json
from collections import Counter

import pytest
from internlm2_align.preferences.preference import Preference, read_preferences, to_record, usable

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
    "lacks 'prompt'; it has": {"domain": "maths", "chosen": "4", "rejected": "5"},
    "7 is neither a text nor": {"chosen": 7},
    "is no reply": {"chosen": {"role": "user", "content": "4"}},
    "None; write a text": {"prompt": [{"role": "user"}]},
    "role 'narrator', which is none of": {"prompt": [{"role": "narrator", "content": "x"}]},
    "only parts of text": {"prompt": [{"role": "user", "content": [{"type": "image_url"}]}]},
    "meta.margin is 'big'": {"meta": {"margin": "big"}},
    "meta.slices is 'hard'": {"meta": {"slices": "hard"}},
    "domain is 3": {"domain": 3},
}


@pytest.mark.parametrize("match", WRONG)
def test_wrong_records_are_refused_with_file_and_line(tmp_path, match):
    record = WRONG[match] if "lacks" in match else to_record(GOOD) | WRONG[match]
    with pytest.raises(ValueError, match=match) as error:
        list(read_preferences(write(tmp_path / "p.jsonl", to_record(GOOD), record)))
    assert str(error.value).startswith(f"{tmp_path}/p.jsonl, line 2")


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
    with pytest.raises(FileNotFoundError, match="internlm2 label"):
        list(read_preferences(tmp_path / "none.jsonl"))
    path = tmp_path / "bad.jsonl"
    for content in ("not json", '{"domain": "maths"}', "[1]"):
        path.write_text("\n" + content + "\n")
        with pytest.raises(ValueError, match=r"bad.jsonl, line 2"):
            list(read_preferences(path))
