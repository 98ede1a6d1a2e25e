import json
from pathlib import Path

from internlm2_align.people.queue import Queue
from internlm2_align.preferences.comparison import Comparison, Judgement
from internlm2_align.report.agreement import agreement_of
from internlm2_align.report.annotators import agreement_table, annotator_table
from internlm2_align.report.benchmarks import show_benchmarks
from internlm2_align.report.policy import best_and_worst, read_ppo
from internlm2_align.report.rounds import audited
from internlm2_records.report import Found, Table

NOW = "2026-01-01T00:00:00+00:00"


def rows(*scores: float) -> list[dict]:
    return [{"prompt": f"p{n}", "reply": f"r{n}", "score": score, "domain": "d"} for n, score in enumerate(scores)]


def test_best_and_worst_replies_are_the_ends_and_never_the_same() -> None:
    found = best_and_worst(rows(0.5, -1.0, 2.0, 0.0, 1.0, -3.0, 3.0))
    assert [row["score"] for row in found["best"]] == [3.0, 2.0, 1.0]
    assert [row["score"] for row in found["worst"]] == [-3.0, -1.0, 0.0]
    few = best_and_worst([*rows(1.0, 2.0, 3.0), *rows(1.0)])
    assert ([row["score"] for row in few["best"]], [row["score"] for row in few["worst"]]) == ([3.0], [1.0])
    assert best_and_worst(rows(1.0)) == {"best": rows(1.0), "worst": []}
    [long] = best_and_worst([{**rows(1.0)[0], "reply": "字" * 5000}])["best"]
    assert len(long["reply"]) == 1501 and long["reply"].endswith("…")


def test_replies_of_an_audit_have_their_prompts(tmp_path: Path) -> None:
    assert audited(tmp_path) is None
    replies = [
        {"record": "a", "model": "late", "domain": "d", "text": "一\u2028二", "reward": 2.0, "judged": 1.0},
        {"record": "b", "model": "late", "domain": "d", "text": "no", "reward": 1.0},
        {"record": "a", "model": "sft", "domain": "d", "text": "not shown", "reward": 9.0},
    ]
    (tmp_path / "replies.jsonl").write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in replies) + "\n")
    (tmp_path / "prompts.jsonl").write_text(
        json.dumps({"record": "a", "messages": [{"role": "user", "content": "问"}]})
    )
    found = audited(tmp_path)
    assert found is not None and found["replies"] == 2
    assert (found["best"][0]["prompt"], found["best"][0]["reply"]) == ("问", "一\u2028二")
    assert found["worst"][0]["prompt"] == ""


def test_agreement_of_people_is_read_without_touching_their_queue(tmp_path: Path) -> None:
    assert agreement_of(tmp_path) is None
    asked = [Comparison(f"c{n}", "d", ({"role": "user", "content": str(n)},), ("x", "y")) for n in range(4)]
    queue = Queue(tmp_path, asked, annotators_per=2)
    for n, comparison in enumerate(asked):
        queue.judge(Judgement(comparison.id, "first", "甲", NOW))
        queue.judge(Judgement(comparison.id, "first" if n else "second", "乙", NOW))
    before = (tmp_path / "labels.sqlite").read_bytes()
    found = agreement_of(tmp_path)
    assert found is not None and found["judged_twice"] == 4
    assert (tmp_path / "labels.sqlite").read_bytes() == before
    tables = list(agreement_table(found, False))
    assert all(isinstance(table, Table) for table in tables)
    assert tables[1].rows[0].label == "乙 and 甲"


def test_annotators_and_their_gold_questions() -> None:
    figures = {"annotators": {"a": 30, "b": 10}, "gold": {"b": {"judged": 8, "right": 6}}}
    [table] = annotator_table(figures, False)
    assert [(row.label, list(row.cells)) for row in table.rows] == [
        ("a", [30, 0.75, 0, None]),
        ("b", [10, 0.25, 8, 0.75]),
    ]
    assert not list(annotator_table({"annotators": {}}, False))


def test_a_run_without_stored_replies_says_so(tmp_path: Path) -> None:
    figures = {"schema": "internlm2/align/ppo/1", "start": {}, "best": {}, "last": {}, "history": []}
    (tmp_path / "metrics.json").write_text(json.dumps(figures))
    assert read_ppo(tmp_path / "metrics.json", {})["samples"] is None


def test_reward_benchmarks_are_shown_beside_the_published_row() -> None:
    own = {"items": 100, "ties": 2, "score": 0.61, "sections": {"Chat": 0.7}}
    task = {
        "kind": "reward_benchmark",
        "version": 1,
        "benchmark": "RewardBench",
        "without_conditions": own,
        "with_conditions": None,
    }
    [table] = show_benchmarks([Found("evaluation", "ours", {"tasks": {"rewardbench": task, "x": {"kind": "needle"}}})])
    score, chat = table.rows[:2]
    assert (score.label, list(score.cells)) == ("rewardbench", [100, 2, 0.61, None, 80.6, 86.6, 89.5])
    assert (chat.label, list(chat.cells)) == ("Chat", [None, None, 0.7, None, 95.0, 98.6, 98.6])
    assert not list(show_benchmarks([Found("evaluation", "ours", {"tasks": {}})]))
