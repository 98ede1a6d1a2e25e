"""What people said, out to files and in again, ours and Label Studio's."""

import json

import pytest
from internlm2_align.people import Queue, export, import_judgements, import_label_studio
from internlm2_align.preferences.comparison import Comparison
from internlm2_align.preferences.sources import read_preferences

TIME = "2026-01-01T00:00:00+00:00"


@pytest.fixture
def queue(tmp_path, comparisons, says):
    queue = Queue(tmp_path / "one", comparisons(4))
    queue.judge(says("ann", "helpful0", "second", margin=0.5, remark="warmer"), first_is_left=False, seconds=2.5)
    queue.judge(says("bob@lab.org", "helpful1", "tie"))
    queue.judge(says("ann", "helpful2"))
    queue.undo("ann")
    queue.judge(says("ann", "helpful2", "skip"))
    queue.judge(says("ann", "helpful3", "both_bad", remark="neither"))
    return queue


def test_pairs_are_read_by_reward_training(queue, tmp_path):
    (pair,) = read_preferences(export(queue, tmp_path / "pairs.jsonl"))
    assert (pair.chosen, pair.rejected, pair.domain, pair.source) == ("blue 0", "red 0", "helpful", "ann")
    said = {"comparison": "helpful0", "annotator": "ann", "time": TIME, "score_gap": 0.5, "remark": "warmer"}
    assert said.items() <= pair.meta.items()


def test_judgements_go_out_and_in_and_in_again(queue, tmp_path, comparisons):
    file = export(queue, tmp_path / "said.jsonl", "judgements")
    other = Queue(tmp_path / "two", comparisons(3))
    for taken in (3, 0):
        counts = import_judgements(other, file)
        assert counts == {"judgements": taken, "known": 3 - taken, "undone": 1, "unknown": 1}
    assert import_judgements(queue, file) == {"judgements": 0, "known": 5, "undone": 0, "unknown": 0}
    assert other.judgements() == [
        s for s in queue.judgements() if not s.undone and s.judgement.comparison != "helpful3"
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "third"}, "verdict='third' must be one of"),
        ({"annotator": " "}, "annotator=' ' must be a name"),
        ({"role": "boss"}, "role='boss' must be label or resolution"),
        ({"seconds": "2"}, "seconds='2' must be a number"),
        ({"first_is_left": "yes"}, "first_is_left='yes' must be true, false or null"),
        ({"comparison": None}, "comparison"),
    ],
)
def test_a_bad_line_takes_nothing(tmp_path, comparisons, change, words):
    good = {"comparison": "helpful0", "verdict": "first", "annotator": "ann", "time": TIME}
    bad = {name: value for name, value in (good | change).items() if value is not None}
    (tmp_path / "said.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
    queue = Queue(tmp_path, comparisons(1))
    with pytest.raises(ValueError, match=words) as caught:
        import_judgements(queue, tmp_path / "said.jsonl")
    assert "said.jsonl" in str(caught.value) and "2" in str(caught.value)
    assert queue.judgements() == []


def test_an_unknown_format(queue, tmp_path):
    with pytest.raises(ValueError, match="format=xml must be one of pairs, judgements, label_studio"):
        export(queue, tmp_path / "file", "xml")


def test_tasks_of_label_studio_go_out_and_in_and_in_again(queue, tmp_path, comparisons):
    file = export(queue, tmp_path / "tasks.json", "label_studio")
    tasks = json.loads(file.read_text())
    assert tasks[0]["data"] == {
        "id": "helpful0", "domain": "helpful", "prompt": "user: Name a colour.", "answer1": "red 0", "answer2": "blue 0",
    }  # fmt: skip
    (pair, remark) = tasks[0]["annotations"][0]["result"]
    assert (pair["type"], pair["value"]) == ("pairwise", {"selected": "right"})
    assert (remark["type"], remark["value"]) == ("textarea", {"text": ["warmer"]})
    assert tasks[1]["annotations"][0]["completed_by"] == {"email": "bob@lab.org"}
    other = Queue(tmp_path / "two", comparisons(3))
    for taken in (3, 0):
        counts = import_label_studio(other, file)
        assert counts == {"judgements": taken, "known": 3 - taken, "undone": 0, "unknown": 1, "empty": 0}
    assert [(s.judgement.annotator, s.judgement.verdict, s.judgement.remark) for s in other.judgements()] == [
        ("ann", "second", "warmer"),
        ("bob@lab.org", "tie", ""),
        ("ann", "skip", ""),
    ]


def test_an_export_as_label_studio_writes_it(tmp_path):
    """By hand after https://labelstud.io/guide/task_format: numbers for people, ids, and keys that we do not know."""
    annotation = {
        "id": 1001, "completed_by": 10, "was_cancelled": False, "ground_truth": False, "lead_time": 4.288, "task": 1,
        "created_at": "2026-03-09T22:16:08.728353Z", "updated_at": "2026-03-09T22:16:08.728378Z", "result_count": 1,
        "result": [{"id": "Dx_aB91ISN", "type": "pairwise", "origin": "manual", "value": {"selected": "left"},
                    "from_name": "comparison", "to_name": "answer1,answer2"}],
    }  # fmt: skip
    data = {"id": "q", "prompt": "2+2", "answer1": "4", "answer2": "5"}
    silent = annotation | {"result": [], "completed_by": 11}
    task = {"id": 1, "project": 83, "data": data, "annotations": [annotation, silent], "predictions": []}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    queue = Queue(tmp_path, [Comparison("q", "maths", ({"role": "user", "content": "2+2"},), ("4", "5"))])
    assert import_label_studio(queue, tmp_path / "export.json") == {
        "judgements": 1, "known": 0, "undone": 0, "unknown": 0, "empty": 1,
    }  # fmt: skip
    (said,) = queue.judgements()
    assert (said.judgement.annotator, said.judgement.verdict, said.first_is_left, said.seconds) == (
        "10", "first", True, 4.288,
    )  # fmt: skip
    assert said.judgement.time == "2026-03-09T22:16:08.728353+00:00"


def test_answers_of_another_comparison_are_refused(queue, tmp_path, comparisons):
    file = export(queue, tmp_path / "tasks.json", "label_studio")
    swapped = json.loads(file.read_text())
    swapped[0]["data"] |= {"answer1": "blue 0", "answer2": "red 0"}
    file.write_text(json.dumps(swapped))
    other = Queue(tmp_path / "two", comparisons(4))
    with pytest.raises(ValueError, match="answer1 and answer2 of 'helpful0' are not the replies"):
        import_label_studio(other, file)
    assert other.judgements() == []
