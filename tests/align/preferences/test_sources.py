"""Preference data of others: by hand, and on real files where they are at hand."""

import gzip
import json
import re
from collections import Counter

import pytest
from internlm2_align.preferences.sources import PreferenceFile, preference_files, read_preferences

USER = {"role": "user", "content": "hi"}


def read(tmp_path, format, *records, name="p.jsonl"):
    path = tmp_path / name
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return list(PreferenceFile(str(path), format, "helpful").read())


def test_transcripts(tmp_path):
    chosen = "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: good\n\nstill good"
    (pair,) = read(tmp_path, "hh", {"chosen": chosen, "rejected": chosen.replace("good\n\nstill good", "bad")})
    assert [message["content"] for message in pair.prompt] == ["a", "b", "c"]
    assert (pair.chosen, pair.rejected, pair.domain) == ("good\n\nstill good", "bad", "helpful")


@pytest.mark.parametrize(
    "record",
    [
        {"prompt": "hi", "chosen": "good", "rejected": "bad"},
        {"prompt": [USER], "chosen": "good", "rejected": "bad"},
        {"conversations": [{"from": "human", "value": "hi"}], "chosen": {"from": "gpt", "value": "good"},
         "rejected": {"from": "gpt", "value": "bad"}},
        {"chosen": [USER, {"role": "assistant", "content": "good"}],
         "rejected": [USER, {"role": "assistant", "content": "bad"}]},
    ],
)  # fmt: skip
def test_dialogues(tmp_path, record):
    (pair,) = read(tmp_path, "dialogue", record)
    assert pair.prompt == (USER,) and (pair.chosen, pair.rejected) == ("good", "bad")


def test_dialogues_that_part_ways_are_cut_at_the_first_reply_that_differs(tmp_path):
    def talk(*replies):
        return [m for r in replies for m in (USER, {"role": "assistant", "content": r})]

    (pair,) = read(tmp_path, "dialogue", {"chosen": talk("x", "good", "more"), "rejected": talk("x", "bad", "less")})
    assert len(pair.prompt) == 3 and (pair.chosen, pair.rejected) == ("good", "bad")


def test_ranked_and_scored_lists(tmp_path):
    pairs = read(tmp_path, "ranked", {"prompt": "hi", "replies": ["a", "b", "c"]})
    assert [(p.chosen, p.rejected) for p in pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    pairs = read(tmp_path, "scored", {"prompt": "hi", "replies": ["a", "b", "c"], "scores": [1, 3, 1]})
    assert [(p.chosen, p.rejected) for p in pairs] == [("b", "a"), ("b", "c")]
    assert pairs[0].meta["score_gap"] == 2


TOOL = {"name": "clock", "arguments": '{"zone": 1}'}
SPELT = TOOL | {"arguments": {"zone": 1}}


def test_calls_and_results_of_tools_are_kept(tmp_path):
    asked = [
        {"role": "developer", "content": "Be brief."},
        USER,
        {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": TOOL}]},
        {"role": "tool", "content": "12:00"},
    ]
    call = [{"function": TOOL | {"name": "calendar"}}]
    record = {
        "prompt": asked,
        "chosen": {"role": "assistant", "content": None, "tool_calls": call},
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "It is "}, {"type": "text", "text": "12."}]}],
        "tools": [TOOL],
    }  # fmt: skip
    (pair,) = read(tmp_path, "dialogue", record)
    assert pair.prompt == (
        {"role": "system", "content": "Be brief."},
        {"role": "system", "name": "<|plugin|>", "content": json.dumps([TOOL])},
        USER,
        {"role": "assistant", "content": "", "tool_call": {"tool": "<|plugin|>", "content": json.dumps(SPELT)}},
        {"role": "environment", "name": "<|plugin|>", "content": "12:00"},
    )
    assert pair.chosen["tool_call"]["content"] == json.dumps(SPELT | {"name": "calendar"})
    assert pair.rejected == "It is 12."


def test_sharegpt_calls_end_the_turn_before_them(tmp_path):
    talk = [
        {"from": "human", "value": "hi"},
        {"from": "gpt", "value": "I look."},
        {"from": "function_call", "value": "{}"},
    ]
    (pair,) = read(tmp_path, "dialogue", {"chosen": talk, "rejected": talk[:2]})
    assert pair.prompt == (USER,) and pair.rejected == "I look."
    assert pair.chosen == {
        "role": "assistant",
        "content": "I look.",
        "tool_call": {"tool": "<|plugin|>", "content": "{}"},
    }


def test_prompts_apart_from_dialogues(tmp_path):
    good, bad = ([{"role": "assistant", "content": text}] for text in ("good", "bad"))
    for chosen, rejected in ((good, bad), ([USER, *good], [USER, *bad])):
        (pair,) = read(tmp_path, "dialogue", {"prompt": "hi", "chosen": chosen, "rejected": rejected})
        assert (pair.prompt, pair.chosen) == ((USER,), "good")


def test_lists_compressed_files_and_folders(tmp_path):
    record = {"prompt": "hi", "chosen": "good", "rejected": "bad"}
    with gzip.open(tmp_path / "p.json.gz", "wt") as file:
        json.dump([record, record], file)
    assert len(list(PreferenceFile(str(tmp_path / "p.json.gz"), "dialogue", "helpful").read())) == 2
    (tmp_path / "folder").mkdir()
    with gzip.open(tmp_path / "folder" / "p.jsonl.gz", "wt") as file:
        file.write("\n" + json.dumps(record | {"domain": "maths"}) + "\n")
    for path in ("folder", "folder/p.jsonl.gz"):
        (pair,) = read_preferences(str(tmp_path / path))
        assert pair.domain == "maths" and pair.where == f"{tmp_path}/folder/p.jsonl.gz, line 2"
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([record | {"meta": None}]).to_parquet(str(tmp_path / "p.parquet"))
    (pair,) = PreferenceFile(str(tmp_path / "p.parquet"), "dialogue", "helpful", language="zh").read()
    assert pair.chosen == "good" and pair.language == "zh" and pair.where.endswith("row 1")


def test_files_are_a_path_a_mapping_or_a_list_of_them(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(
        json.dumps({"prompt": "hi", "chosen": "good", "rejected": "bad", "meta": {"language": "zh"}}) + "\n"
    )
    own = PreferenceFile(str(path), domain="maths", language="fr", source="mine")
    for files in (own, [own], {"path": str(path), "domain": "maths", "source": "mine"}):
        (pair,) = read_preferences(files)
        assert (pair.domain, pair.language, pair.source) == ("maths", "zh", "mine")
    for wrong, match in (({"file": "x"}, "has 'file'"), ({"domain": "x"}, "names no path")):
        with pytest.raises(ValueError, match=re.escape(f"{wrong} {match}")):
            preference_files([wrong])


WRONG = {
    "lacks 'prompt'": ("ranked", {"replies": ["x"]}),
    "lacks 'replies'": ("ranked", {"prompt": "x"}),
    "replies='abc' must be a list": ("ranked", {"prompt": "hi", "replies": "abc"}),
    "scores=[1] must be 2 numbers": ("scored", {"prompt": "hi", "replies": ["a", "b"], "scores": [1]}),
    "must be 2 numbers, one for each reply": ("scored", {"prompt": "hi", "replies": ["a", "b"], "scores": ["1", "2"]}),
    "differ before": ("dialogue", {"chosen": [USER], "rejected": [USER | {"content": "ho"}]}),
    "holds no message": ("dialogue", {"chosen": [], "rejected": []}),
    "does not begin with 'Human:'": ("hh", {"chosen": "\n\nAssistant: x\n\nHuman: y", "rejected": "x"}),
    "are of format=dialogue": ("hh", {"chosen": [USER], "rejected": [USER]}),
}


@pytest.mark.parametrize("match", WRONG)
def test_records_that_do_not_fit_are_refused_or_counted(tmp_path, match):
    format, record = WRONG[match]
    with pytest.raises(ValueError, match=re.escape(match)) as error:
        read(tmp_path, format, record)
    assert str(error.value).startswith(f"{tmp_path}/p.jsonl, line 1") and "on_bad=skip" in str(error.value)
    counts = Counter()
    assert list(PreferenceFile(str(tmp_path / "p.jsonl"), format, "helpful").read(counts, "skip")) == []
    assert counts["malformed"] == 1


def test_the_rest_of_a_file_is_read_and_records_without_a_pair_are_counted(tmp_path):
    path, counts = tmp_path / "p.jsonl", Counter()
    tie = {"prompt": "hi", "replies": ["a", "b"], "scores": [1, 1]}
    path.write_text(f"{{broken\n[]\n{json.dumps(tie)}\n{json.dumps(tie | {'scores': [1, 2]})}\n")
    (pair,) = PreferenceFile(str(path), "scored", "helpful").read(counts, "skip")
    assert pair.chosen == "b" and pair.where.endswith("line 4")
    assert +counts == {"malformed": 2, "no_pair": 1}


def test_replies_of_lists_may_call_tools(tmp_path):
    call = {"role": "assistant", "content": "", "tool_call": {"tool": "<|interpreter|>", "content": "1"}}
    (pair,) = read(tmp_path, "ranked", {"prompt": "hi", "replies": [call, {"role": "assistant", "content": "b"}]})
    assert (pair.chosen, pair.rejected) == (call, "b")


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="format=csv of x must be one of records, hh"):
        PreferenceFile("x", "csv", "helpful")
    with pytest.raises(ValueError, match="x of format=hh needs a domain"):
        PreferenceFile("x", "hh")
    with pytest.raises(FileNotFoundError, match=r"none.jsonl does not exist. `internlm2 label` writes"):
        list(read_preferences(str(tmp_path / "none.jsonl")))
    (tmp_path / "p.json").write_text("{}")
    with pytest.raises(ValueError, match=r"p.json holds a JSON dict"):
        list(read_preferences(str(tmp_path / "p.json")))
    (tmp_path / "p.jsonl").write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"p.jsonl, line 1 is not UTF-8"):
        list(read_preferences(str(tmp_path / "p.jsonl")))


@pytest.mark.parametrize("name", ["dpo_en_demo.json.gz", "dpo_zh_demo.json.gz", "dpo_zh_500.jsonl.gz"])
def test_real_dialogues(real_data, name):
    pairs = list(PreferenceFile(str(real_data / "preference" / name), "dialogue", "helpful", "zh").read())
    assert len(pairs) >= 300
    assert all(pair.prompt[-1]["role"] == "user" for pair in pairs)
    assert sum(pair.defect() is None for pair in pairs) > 0.95 * len(pairs)


def test_half_of_a_character_is_malformed(tmp_path):
    good = {"domain": "maths", "prompt": "2+2?", "chosen": "4", "rejected": "5"}
    halves = [{**good, name: "\ud83d"} for name in ("prompt", "chosen", "rejected")]
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in [good, *halves]))
    counts = Counter()
    assert len(list(read_preferences(path, counts, "skip"))) == 1 and counts["malformed"] == 3
    with pytest.raises(ValueError, match=r"p.jsonl, line 2: .* half of a character"):
        list(read_preferences(path))
    sides = {
        side: f"\n\nHuman: hi\n\nAssistant: {words}" for side, words in (("chosen", "a \ud83d"), ("rejected", "b"))
    }
    path.write_text(json.dumps(sides) + "\n")
    assert not list(read_preferences({"path": path, "format": "hh", "domain": "helpful"}, counts, "skip"))
