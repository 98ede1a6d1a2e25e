"""Every benchmark is read in its published layout, and what is not scored is counted."""

from collections import Counter

import pytest
from internlm2_align.reward_benchmarks import PPE, RMB, JudgeBench, LLMBar, RewardBench, RewardBench2, RMBench


def said(item):
    return [reply for reply, right in zip(item.replies, item.right, strict=True) if right], item.subset, item.id


def test_rewardbench_reads_the_filtered_split(tmp_path, write):
    row = {"prompt": "q", "chosen": "good", "rejected": "bad", "subset": "hep-go", "id": 7, "chosen_model": "m"}
    write(tmp_path / "data/filtered-00000.jsonl", row, row | {"chosen": ["good"], "rejected": ["bad"], "id": 8})
    write(tmp_path / "data/raw-00000.jsonl", row, row, row)
    items = RewardBench(tmp_path).read().items
    assert [said(item) for item in items] == [(["good"], "hep-go", "7"), (["good"], "hep-go", "8")]
    assert items[0].prompt == ({"role": "user", "content": "q"},)


def test_rewardbench_2_has_several_right_replies(tmp_path, write):
    row = {"id": "tied:3", "prompt": "q", "chosen": ["a", "b"], "rejected": ["c"], "num_correct": 2, "subset": "Ties"}
    (item,) = RewardBench2(write(tmp_path / "test.jsonl", row)).read().items
    assert said(item) == (["a", "b"], "Ties", "tied:3")


@pytest.mark.parametrize("name", ["Adversarial/Neighbor/dataset.json", "neighbor.json"])
def test_llmbar_says_which_output_is_better(tmp_path, write, name):
    rows = [{"input": "q", "output_1": "a", "output_2": "b", "label": label} for label in (1, 2)]
    write(tmp_path / name, *rows)
    assert [said(item)[:2] for item in LLMBar(tmp_path).read().items] == [(["a"], "neighbor"), (["b"], "neighbor")]
    write(tmp_path / name, rows[0] | {"label": 3})
    with pytest.raises(ValueError, match="record 1: label=3 must be 1 or 2"):
        LLMBar(tmp_path).read()


def test_rm_bench_knows_the_domain_by_record_or_file(tmp_path, write):
    row = {"id": 1, "prompt": "q", "chosen": list("abc"), "rejected": list("def")}
    write(tmp_path / "safety-refuse_filtered.json", row)
    write(tmp_path / "chat_filtered.json", row)
    assert sorted(item.subset for item in RMBench(tmp_path).read().items) == ["chat", "safety"]
    write(tmp_path / "total_dataset.json", row | {"domain": "safety-response"})
    assert [said(item) for item in RMBench(tmp_path).read().items] == [(["a", "b", "c"], "safety", "1")]
    write(tmp_path / "total_dataset.json", row | {"chosen": ["a"]})
    with pytest.raises(ValueError, match="1 chosen and 3 rejected replies, and must have three each"):
        RMBench(tmp_path).read()


def test_rmb_has_pairs_and_best_of_n_in_two_languages(tmp_path, write):
    asked = [{"role": "user", "content": "q", "language": "Chinese"}]
    answers = [{"llm_name": "m", "answer": text} for text in "abc"]
    common = {"conversation_input": asked}
    write(
        tmp_path / "Pairwise_set/Harmlessness/S1.json",
        common
        | {"pair_uid": "1", "chosen": answers[0], "reject": answers[1], "category_path": "Pairwise/Harmlessness/S1"},
    )
    write(
        tmp_path / "BoN_set/Helpfulness/Chat/Casual.json",
        common | {"bon_uid": "2", "bon_best": answers[0], "loser_list": answers[1:], "category_path": "BoN_set/Chat"},
    )
    items = RMB(tmp_path).read().items
    assert [said(item) for item in items] == [
        (["a"], "Helpfulness/best-of-n", "2"), (["a"], "Harmlessness/pairs", "1"),
    ]  # fmt: skip
    assert {item.language for item in items} == {"zh"} and len(items[0].replies) == 3
    assert items[0].prompt == ({"role": "user", "content": "q"},)


def test_judgebench_takes_the_published_split(tmp_path, write):
    row = {
        "pair_id": "p",
        "source": "mmlu-pro-law",
        "question": "q",
        "response_A": "a",
        "response_B": "b",
        "label": "B>A",
    }
    write(
        tmp_path / "dataset=judgebench,response_model=gpt-4o-2024-05-13.jsonl", row, row | {"source": "livecodebench"}
    )
    write(tmp_path / "dataset=judgebench,response_model=claude-3-5-sonnet.jsonl", row)
    found = [said(item) for item in JudgeBench(tmp_path).read().items]
    assert found == [(["b"], "knowledge", "p"), (["b"], "code", "p")]


def test_ppe_leaves_out_what_people_could_not_tell(tmp_path, write):
    vote = {"question_id": "v", "prompt": "q", "response_1": "a", "response_2": "b", "language": "English"}
    winners = ("model_a", "model_b", "tie", "tie (bothbad)")
    write(tmp_path / "PPE-Human-Preference-V1/test.jsonl", *[vote | {"winner": winner} for winner in winners])
    checked = {"question_id": "c", "prompt": "q", "response_1": "a", "response_2": "b", "scores": [False, True]}
    write(
        tmp_path / "PPE-MMLU-Pro-Best-of-K/train.jsonl",
        checked | {"sampled_conflict_pairs": [[0, 1]]}, checked | {"sampled_conflict_pairs": []},
    )  # fmt: skip
    reading = PPE(tmp_path).read()
    assert [said(item)[:2] for item in reading.items] == [
        (["a"], "Human-Preference"), (["b"], "Human-Preference"), (["b"], "MMLU-Pro"),
    ]  # fmt: skip
    assert reading.left_out == Counter({"people_tied": 2, "no_pair_of_right_and_wrong": 1})


def test_a_broken_record_is_named_by_its_place(tmp_path, write):
    with pytest.raises(ValueError, match=r"filtered\.jsonl, line 1 lacks 'chosen'"):
        RewardBench(write(tmp_path / "filtered.jsonl", {"prompt": "q"})).read()
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="must be a file of records or a folder"):
        RewardBench(tmp_path / "empty").read()
