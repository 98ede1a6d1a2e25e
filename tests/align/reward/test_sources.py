"""Preference data of others: by hand, and on real files where they are at hand."""

import gzip
import json

import pytest
from internlm2_align.reward.sources import PreferenceFile, all_preferences

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


def test_json_lists_gzip_and_parquet(tmp_path):
    record = {"prompt": "hi", "chosen": "good", "rejected": "bad"}
    with gzip.open(tmp_path / "p.json.gz", "wt") as file:
        json.dump([record, record], file)
    assert len(list(PreferenceFile(str(tmp_path / "p.json.gz"), "dialogue", "helpful").read())) == 2
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([record]).to_parquet(str(tmp_path / "p.parquet"))
    (pair,) = PreferenceFile(str(tmp_path / "p.parquet"), "dialogue", "helpful", language="zh").read()
    assert pair.chosen == "good" and pair.language == "zh"


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"Record 1 .* not of format ranked .* it has chosen"):
        read(tmp_path, "ranked", {"chosen": "x"})
    with pytest.raises(ValueError, match="differ before"):
        read(tmp_path, "dialogue", {"chosen": [USER], "rejected": [USER | {"content": "ho"}]})
    with pytest.raises(ValueError, match="is none of records, hh"):
        PreferenceFile("x", "csv", "helpful")
    with pytest.raises(ValueError, match="names no domain"):
        PreferenceFile("x", "hh")
    with pytest.raises(FileNotFoundError):
        list(all_preferences([str(tmp_path / "none.jsonl")]))


@pytest.mark.parametrize("name", ["dpo_en_demo.json.gz", "dpo_zh_demo.json.gz", "dpo_zh_500.jsonl.gz"])
def test_real_dialogues(real_data, name):
    pairs = list(PreferenceFile(str(real_data / "preference" / name), "dialogue", "helpful", "zh").read())
    assert len(pairs) >= 300
    assert all(pair.prompt[-1]["role"] == "user" for pair in pairs)
    assert sum(pair.defect() is None for pair in pairs) > 0.95 * len(pairs)
