"""Answers are kept as they come, counted so that the sums agree, and never asked for twice."""

import json
from dataclasses import replace

import pytest
from internlm2_align.labelling.annotator import Failure
from internlm2_align.labelling.enough import check_least, missing
from internlm2_align.labelling.labels import FILE, label
from internlm2_align.labelling.people import PeopleAnnotator
from internlm2_align.people import Queue
from internlm2_align.preferences.comparison import Comparison, Judgement

TIME = "2026-01-01T00:00:00+00:00"


def comparison(name, domain="maths", replies=("a", "b"), **meta):
    return Comparison(name, domain, ({"role": "user", "content": f"{name}?"},), replies, meta)


class Told:
    """Says what it was told, and remembers what it was asked."""

    name = "told"

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def judge(self, comparisons, folder):
        self.asked += [each.id for each in comparisons]
        for each in comparisons:
            if said := self.answers.get(each.id):
                if said.startswith("!"):
                    yield Failure(each.id, said[1:], self.name, TIME, "in words", {"raw": ["?"]})
                else:
                    yield Judgement(each.id, said, self.name, TIME, meta={"raw": ["!"]})


SIX = [comparison(name) for name in ("one", "two", "three", "four", "five", "six")]


def test_sums_agree(tmp_path):
    annotator = Told(one="first", two="tie", three="both_bad", four="skip", five="!timeout")
    labels = label(annotator, SIX, tmp_path)
    assert labels.counts([each.id for each in SIX]) == {
        "comparisons": 6, "pairs": 1, "ties": 1, "both_bad": 1, "skipped": 1, "failed": {"timeout": 1}, "open": 1,
    }  # fmt: skip
    assert labels.by_annotator() == {"told": 4}


def test_what_was_judged_is_not_asked_again_and_what_failed_is(tmp_path):
    label(Told(one="first", two="!timeout"), SIX[:2], tmp_path)
    again = Told(one="second", two="tie", three="first")
    labels = label(again, SIX[:3], tmp_path)
    assert again.asked == ["two", "three"]
    assert {name: each.verdict for name, each in labels.judgements.items()} == {
        "one": "first", "two": "tie", "three": "first",
    }  # fmt: skip
    assert labels.failures == {}
    # Everything that was ever said is there, with the answers as they came.
    kept = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [each.get("verdict") or each["reason"] for each in kept] == ["first", "timeout", "tie", "first"]
    assert all(each["meta"]["raw"] for each in kept)
    nobody = Told()
    assert label(nobody, SIX[:3], tmp_path) == labels and nobody.asked == []


def test_what_people_undo_after_it_was_logged_is_taken_back(tmp_path):
    """And so is what they decide otherwise. What others have judged stays."""
    people = PeopleAnnotator(serve=False)

    def says(verdict, name, time=TIME):
        queue.judge(Judgement(name, verdict, "Li Lei", time))

    label(Told(six="tie"), SIX, tmp_path)
    label(people, SIX, tmp_path)  # nobody has said anything yet, but the queue is there
    queue = Queue(tmp_path)
    for name in ("one", "two", "three"):
        says("first", name)
    assert label(people, SIX, tmp_path).judgements.keys() == {"one", "two", "three", "six"}
    before = (tmp_path / FILE).read_text()
    assert label(people, SIX, tmp_path).judgements.keys() == {"one", "two", "three", "six"}
    assert (tmp_path / FILE).read_text() == before
    queue.undo("Li Lei")  # three
    says("second", "two", "2026-01-02T00:00:00+00:00")
    labels = label(people, SIX, tmp_path)
    assert {name: each.verdict for name, each in labels.judgements.items()} == {
        "one": "first", "two": "second", "six": "tie",
    }  # fmt: skip
    counts = labels.counts([each.id for each in SIX])
    assert counts["pairs"] == 2 and counts["ties"] == 1 and counts["open"] == 3
    # Nothing is struck out in the file: it says what was said, and that it was taken back.
    kept = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [each.get("verdict", "taken back") for each in kept[-2:]] == ["second", "taken back"]
    assert label(Told(three="tie"), SIX, tmp_path).judgements["three"].annotator == "told"


def test_a_killed_process_leaves_whole_answers(tmp_path):
    label(Told(one="first"), SIX[:1], tmp_path)
    with (tmp_path / FILE).open("a") as stream:
        stream.write('{"comparison": "two", "verd')
    annotator = Told(two="second")
    assert label(annotator, SIX[:2], tmp_path).judgements.keys() == {"one", "two"}
    assert annotator.asked == ["two"]
    assert label(Told(), SIX[:2], tmp_path).judgements.keys() == {"one", "two"}


def test_an_answer_is_on_disk_before_the_next_is_asked_for(tmp_path):
    class Dies(Told):
        def judge(self, comparisons, folder):
            yield from super().judge(comparisons[:1], folder)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        label(Dies(one="first"), SIX[:2], tmp_path)
    assert label(Told(), SIX[:2], tmp_path).judgements.keys() == {"one"}


def test_an_id_that_asks_something_else_now_is_refused(tmp_path):
    label(Told(one="first"), SIX[:1], tmp_path)
    with pytest.raises(ValueError, match=r"judgements.jsonl, line 1: comparison one asks something else now"):
        label(Told(), [replace(SIX[0], replies=("a", "c"))], tmp_path)
    (tmp_path / FILE).write_text('{"comparison": "one", "verdict": "maybe", "annotator": "x", "time": "now"}\n')
    with pytest.raises(ValueError, match=r"line 1 is not a judgement: verdict='maybe'"):
        label(Told(), SIX[:1], tmp_path)


def test_gold_questions_check_annotators_and_count_for_nothing(tmp_path):
    asked = [*SIX[:2], comparison("gold", gold="second"), comparison("gilt", gold="first")]
    labels = label(Told(one="first", two="tie", gold="second", gilt="tie"), asked, tmp_path)
    assert labels.gold() == {"told": {"judged": 2, "right": 1}}
    assert labels.wanted().keys() == {"one", "two"} and labels.by_annotator() == {"told": 2}
    assert missing(labels, None) == {} == missing(labels, 2)


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (None, {"helpful": (1, 2), "maths": (2, 3)}),
        (2, {}),
        (3, {"all": (2, 3)}),
        (99, {"all": (2, 4)}),  # one was skipped, so four can be labelled
        ({"maths": 1}, {}),
        ({"maths": 9, "helpful": 1}, {"maths": (1, 2)}),
    ],
)
def test_what_is_missing(tmp_path, least, expected):
    asked = [*SIX[:3], comparison("a", "helpful"), comparison("b", "helpful")]
    labels = label(Told(one="first", two="skip", a="tie", b="!timeout"), asked, tmp_path)
    assert missing(labels, least) == expected


def test_numbers_that_no_labels_can_be():
    check_least({"maths": 5}, {"maths"})
    with pytest.raises(ValueError, match=r"least names law, of which there is no prompt\. There are maths"):
        check_least({"law": 5}, {"maths"})
    with pytest.raises(ValueError, match="least=0 labels must be 1 or more"):
        check_least(0, {"maths"})
