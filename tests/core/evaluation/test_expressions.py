from itertools import pairwise
from pathlib import Path

import pytest
from internlm2_core.evaluation.expressions import boxed, last_boxed, normal
from internlm2_core.evaluation.records import placed_records


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (r"So \boxed{\frac{1}{2}}.", r"\frac12"),
        (r"\boxed{\dfrac{3}{4}}", "0.75"),
        (r"\boxed{1,234}", "1234"),
        (r"\boxed{90^\circ}", "90"),
        (r"\boxed{\left( 3, \frac{\pi}{2} \right)}", r"(3,\frac{\pi}{2})"),
        (r"first \boxed{1}, then \boxed{2}", "2"),
        (r"$\boxed 7$", "7"),
        (r"\boxed{x = 5}", "5"),
        (r"\boxed{5\text{ cm}}", "5"),
        (r"\boxed{\text{Evelyn}}", r"\text{Evelyn}"),
        (r"\boxed{10\%}", "10"),
        (r"\boxed{-\frac{1}{3}}", r"\frac{-1}{3}"),
        ("It is\n$\\sqrt2$", r"\sqrt{2}"),
    ],
)
def test_alike(answer, value):
    assert boxed(answer, value)


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        (r"\boxed{2}", "3"), (r"\boxed{1} 2", "2"), ("", "2"), (r"\boxed{(1,2)}", "(2,1)"), (r"\boxed{\frac{1}{0}}", "1"),
        (r"\boxed{[1,2]}", "(1,2)"), (r"\boxed{-2}", "2"),
    ],
)  # fmt: skip
def test_not_alike(answer, value):
    assert not boxed(answer, value)


def test_braces_that_do_not_close():
    assert last_boxed(r"\boxed{1") is None
    assert last_boxed("none") is None
    assert last_boxed(r"\boxed{\frac{1}{2}} and") == r"\frac{1}{2}"


def test_published_answers_equal_themselves_in_their_solutions(real_data: Path):
    """The solutions of MATH-500 box their answer: all are found, and no two answers of other values are alike."""
    records = [placed.parse(dict) for placed in placed_records(real_data / "eval/math500.jsonl.gz")]
    right = sum(boxed(record["solution"], record["answer"]) for record in records)
    assert right == len(records)
    spelt = {normal(record["answer"]) for record in records}
    assert len(spelt) > 0.55 * len(records)
    wrong = sum(boxed(one["solution"], other["answer"]) for one, other in pairwise(records))
    assert wrong < 12
