"""The queue against what its users rely on: nothing lost, nobody asked twice, one verdict a comparison."""

import multiprocessing
import os
import signal
import time

import pytest
from internlm2_align.people import Queue
from internlm2_align.preferences.comparison import Comparison, Judgement, preference_records

PROMPT = ({"role": "user", "content": "Name a colour."},)


def comparisons(count, domain="helpful", **meta):
    return [Comparison(f"{domain}{n}", domain, PROMPT, (f"red {n}", f"blue {n}"), dict(meta)) for n in range(count)]


def says(annotator, comparison, verdict="first", **more):
    return Judgement(comparison, verdict, annotator, "2026-01-01T00:00:00+00:00", **more)


def test_comparisons_are_added_once_and_outlive_the_process(tmp_path):
    queue = Queue(tmp_path, comparisons(2))
    queue.judge(says("ann", "helpful0"))
    again = Queue(tmp_path, comparisons(3))
    assert list(again.comparisons()) == ["helpful0", "helpful1", "helpful2"]
    assert again.comparisons()["helpful0"] == comparisons(1)[0]
    assert again.progress() == {"helpful": (1, 3)}
    assert again.decided() == {"helpful0": says("ann", "helpful0")}


def test_a_known_id_with_another_content_adds_nothing(tmp_path):
    queue = Queue(tmp_path, comparisons(1))
    other = Comparison("helpful0", "helpful", PROMPT, ("red", "blue"))
    with pytest.raises(ValueError, match=r"id='helpful0' is in .* with another content"):
        queue.add([*comparisons(1, "harmless"), other])
    assert list(queue.comparisons()) == ["helpful0"]


def test_everybody_is_asked_in_order_and_nobody_twice(tmp_path):
    queue = Queue(tmp_path, comparisons(3), annotators_per=2)
    asked = {}
    for annotator in ("ann", "bob", "ann", "bob", "ann", "bob"):
        comparison = queue.next(annotator)
        asked.setdefault(annotator, []).append(comparison.id)
        queue.judge(says(annotator, comparison.id))
    assert asked == {"ann": ["helpful0", "helpful1", "helpful2"], "bob": ["helpful0", "helpful1", "helpful2"]}
    assert queue.next("ann") is None and queue.next("cleo") is None


def test_what_one_seat_holds_is_not_given_to_others_until_it_waits_too_long(tmp_path, monkeypatch):
    queue = Queue(tmp_path, comparisons(3))
    assert queue.next("ann", "tab 1").id == queue.next("ann", "tab 1").id == "helpful0"
    assert queue.next("ann", "tab 2").id == "helpful1"
    assert queue.next("bob").id == "helpful2"
    assert queue.next("cleo") is None
    monkeypatch.setattr("internlm2_align.people.queue.SEAT_S", -1.0)
    assert queue.next("cleo").id == "helpful0"


def test_undo_keeps_history_and_asks_again(tmp_path):
    queue = Queue(tmp_path, comparisons(2))
    queue.judge(says("ann", "helpful0", remark="a slip"))
    held = queue.next("ann", "tab")
    assert held.id == "helpful1"
    assert queue.undo("bob") is None
    assert queue.undo("ann", "tab").judgement.remark == "a slip"
    assert queue.next("ann", "tab").id == "helpful0"
    assert queue.decided() == {}
    queue.judge(says("ann", "helpful0", "second"))
    assert [(said.judgement.verdict, bool(said.undone)) for said in queue.judgements()] == [
        ("first", True),
        ("second", False),
    ]
    assert queue.decided()["helpful0"].verdict == "second"
    assert queue.next("ann", "tab").id == "helpful1"


def test_a_second_judgement_of_the_same_person_replaces_the_first(tmp_path):
    queue = Queue(tmp_path, comparisons(1), annotators_per=2)
    queue.judge(says("ann", "helpful0", "first"))
    queue.judge(says("ann", "helpful0", "second"))
    assert queue.states() == {"helpful": {"open": 1}}
    assert queue.undo("ann").judgement.verdict == "second"
    assert queue.undo("ann") is None


def test_a_repeated_request_changes_nothing(tmp_path):
    queue = Queue(tmp_path, comparisons(1))
    queue.judge(says("ann", "helpful0"), request="r1")
    queue.undo("ann")
    queue.judge(says("ann", "helpful0"), request="r1")
    assert len(queue.judgements()) == 1 and queue.decided() == {}


def test_skips_and_ties(tmp_path):
    queue = Queue(tmp_path, comparisons(3))
    queue.judge(says("ann", "helpful0", "skip"))
    assert queue.next("ann").id == "helpful1"
    assert queue.next("bob").id == "helpful0"
    queue.judge(says("bob", "helpful0", "tie"))
    queue.judge(says("ann", "helpful1", "both_bad"))
    assert queue.progress() == {"helpful": (2, 3)}
    assert {id_: each.verdict for id_, each in queue.decided().items()} == {"helpful0": "tie", "helpful1": "both_bad"}
    assert preference_records(queue.comparisons(), queue.decided()) == []


def test_disagreements_are_resolved_and_majorities_do_not_depend_on_order(tmp_path):
    queue = Queue(tmp_path, comparisons(2), annotators_per=2)
    for annotator, verdict in (("ann", "first"), ("bob", "second")):
        queue.judge(says(annotator, "helpful0", verdict))
    assert queue.states() == {"helpful": {"disagreed": 1, "open": 1}}
    assert [said.judgement.annotator for said in queue.disagreements()["helpful0"]] == ["ann", "bob"]
    assert queue.next("cleo", role="resolution").id == "helpful0"
    assert queue.next("dan", role="resolution") is None
    queue.judge(says("cleo", "helpful0", "second", remark="wrong colour"), role="resolution")
    assert queue.decided()["helpful0"].annotator == "cleo" and queue.disagreements() == {}
    assert queue.undo("cleo").role == "resolution"
    assert list(queue.disagreements()) == ["helpful0"]


def test_the_majority_of_three(tmp_path):
    queue = Queue(tmp_path, comparisons(2), annotators_per=3)
    for annotator, verdict, margin in (("cleo", "second", 1.0), ("ann", "first", 0.0), ("bob", "second", 0.5)):
        queue.judge(says(annotator, "helpful0", verdict, margin=margin))
    assert queue.decided() == {"helpful0": says("bob, cleo", "helpful0", "second", margin=0.75)}
    for annotator, verdict in (("ann", "first"), ("bob", "second"), ("cleo", "tie")):
        queue.judge(says(annotator, "helpful1", verdict))
    assert list(queue.disagreements()) == ["helpful1"]


def test_overlap_is_a_share_and_may_be_changed_later(tmp_path):
    queue = Queue(tmp_path, comparisons(400), overlap=0.25)
    twice = [id_ for id_ in queue.comparisons() if queue.wanted(id_) == 2]
    assert 60 < len(twice) < 140  # 100 are expected, with a deviation of 8.7.
    queue.judge(says("ann", twice[0]))
    assert queue.decided() == {}
    assert Queue(tmp_path).overlap == 0.25
    assert list(Queue(tmp_path, overlap=0.0).decided()) == [twice[0]]


def test_gold_questions_come_between_and_never_become_pairs(tmp_path):
    gold = comparisons(5, "harmless", gold="second")
    queue = Queue(tmp_path, [*comparisons(40), *gold], gold_share=0.3)
    asked = []
    while (comparison := queue.next("ann")) is not None:
        asked.append(comparison.domain)
        queue.judge(says("ann", comparison.id, "second"))
    assert asked.count("harmless") == 5 and asked.count("helpful") == 40
    assert asked[-5:] != ["harmless"] * 5
    assert queue.progress() == {"helpful": (40, 40)} and not any(id_.startswith("harmless") for id_ in queue.decided())


def test_sides_are_random_and_stay(tmp_path):
    queue = Queue(tmp_path)
    sides = [queue.first_is_left(f"c{n}", "ann") for n in range(400)]
    assert 140 < sum(sides) < 260
    again = Queue(tmp_path)
    assert sides == [again.first_is_left(f"c{n}", "ann") for n in range(400)]
    assert sides != [queue.first_is_left(f"c{n}", "bob") for n in range(400)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"annotators_per": 0}, "annotators_per=0 must be 1 or more"),
        ({"overlap": 1.5}, "overlap=1.5 must be from 0 to 1"),
        ({"comparisons": comparisons(1, gold="third")}, "gold='third' of helpful0 must be one of first, second"),
    ],
)
def test_refusals(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        Queue(tmp_path, **arguments)


def test_unknown_comparisons_and_foreign_files(tmp_path):
    with pytest.raises(ValueError, match="comparison='nothing' is not in"):
        Queue(tmp_path).judge(says("ann", "nothing"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "labels.sqlite").write_text("not a database, but long enough to be read as one" * 9)
    with pytest.raises(ValueError, match="cannot be used as a database"):
        Queue(tmp_path / "other")


def label_all(folder, annotator, acknowledged):
    queue = Queue(folder)
    while (comparison := queue.next(annotator)) is not None:
        queue.judge(says(annotator, comparison.id))
        os.write(acknowledged, f"{comparison.id}\n".encode())


def test_processes_share_a_queue_and_a_killed_one_loses_nothing(tmp_path):
    Queue(tmp_path, comparisons(40))
    context = multiprocessing.get_context("fork")
    file = os.open(tmp_path / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    workers = [context.Process(target=label_all, args=(tmp_path, name, file)) for name in ("ann", "bob")]
    for worker in workers:
        worker.start()
    while (tmp_path / "acknowledged").read_text().count("\n") < 5:
        time.sleep(0.01)
    os.kill(workers[0].pid, signal.SIGKILL)
    for worker in workers:
        worker.join(60)
    os.close(file)
    acknowledged = (tmp_path / "acknowledged").read_text().split()
    said = [each.judgement.comparison for each in Queue(tmp_path).judgements()]
    assert set(acknowledged) <= set(said) and len(set(said)) == len(said)
    assert len(said) >= 39  # The killed one may still hold a comparison.
