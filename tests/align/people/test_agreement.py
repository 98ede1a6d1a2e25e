"""Agreement against scikit-learn and against the examples that Krippendorff worked out by hand."""

import random

import pytest
from internlm2_align.people.agreement import cohen_kappa, krippendorff_alpha
from sklearn.metrics import cohen_kappa_score

# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability": A, two observers and two values, and C, four
# observers with gaps. He gives 0.095 and 0.743.
EXAMPLE_A = ["0100000010", "1110010000"]
EXAMPLE_C = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]


def test_cohen_equals_scikit_learn():
    draw = random.Random(1)
    for bias in (0.0, 0.3, 0.9):
        one = [draw.choice("abcd") for _ in range(200)]
        other = [each if draw.random() < bias else draw.choice("abcd") for each in one]
        assert cohen_kappa(list(zip(one, other, strict=True))) == pytest.approx(cohen_kappa_score(one, other))


def test_krippendorff_equals_his_own_examples():
    assert krippendorff_alpha(list(zip(*EXAMPLE_A, strict=True))) == pytest.approx(0.095, abs=5e-4)
    units = zip(*(row.split() for row in EXAMPLE_C), strict=True)
    assert krippendorff_alpha([[v for v in unit if v != "."] for unit in units]) == pytest.approx(0.743, abs=5e-4)


def test_all_alike_and_nothing_in_common():
    assert cohen_kappa([("a", "a"), ("b", "b")]) == 1.0 == krippendorff_alpha([["a", "a"], ["b", "b"]])
    assert cohen_kappa([("a", "b"), ("b", "a")]) == -1.0
    assert cohen_kappa([]) is None and krippendorff_alpha([["a"], []]) is None
    assert cohen_kappa([("a", "a")]) is None and krippendorff_alpha([["a", "a"]]) is None
