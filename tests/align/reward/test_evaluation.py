"""Figures by domain and slice, by hand."""

import pytest
from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.evaluation import pair_figures


def pair(domain, chosen, rejected, question="q", **meta):
    return Preference(domain, ({"role": "user", "content": question},), chosen, rejected, meta=meta)


def test_domains_and_slices_by_hand():
    pairs = [pair("maths", "4", "5", slices=["easy"]), pair("maths", "6", "7"), pair("format", "a", "b", "r")]
    figures = pair_figures(pairs, [(1.0, 0.0), (0.0, 1.0), (2.0, 0.0)])
    assert figures["domains"]["maths"]["accuracy"] == pytest.approx(0.5)
    assert figures["domains"]["maths"]["slices"]["easy"]["accuracy"] == 1
    assert figures["accuracy"] == pytest.approx(0.75)  # a plain mean over domains
    assert figures["domains"]["maths"]["margin"] == pytest.approx(0.0)


def test_opposed_pairs_are_those_that_another_domain_has_the_other_way_round():
    pairs = [
        pair("helpful", "told", "declined"),
        pair("harmless", "declined", "told"),
        pair("harmless", "declined", "nonsense"),
        pair("helpful", "declined", "told", "another question"),
        pair("helpful", "x", "y", "own"),
        pair("helpful", "y", "x", "own"),  # a domain that contradicts itself
    ]
    blind = pair_figures(pairs, [(1.0, 0.0), (0.0, 1.0), *[(1.0, 0.0)] * 4])["domains"]
    assert blind["helpful"]["slices"]["opposed"]["pairs"] == 1
    assert blind["harmless"]["slices"]["opposed"]["pairs"] == 1
    # Whoever scores the two replies alike in both domains is right once.
    assert blind["helpful"]["slices"]["opposed"]["accuracy"] + blind["harmless"]["slices"]["opposed"]["accuracy"] == 1


def slices_of(*pairs, **settings):
    figures = pair_figures(pairs, [(1.0, 0.0)] * len(pairs), **settings)["domains"]["maths"]
    return figures["hard_gap"], {name: part["pairs"] for name, part in figures["slices"].items()}


@pytest.mark.parametrize(
    ("gaps", "threshold", "found"),
    [
        ([1, 2, 3], 2, {"hard": 1, "easy": 2}),
        ([1, 1, 1, 4], 4, {"hard": 3, "easy": 1}),  # none is below the median
        ([2, 2], None, {}),
        ([], None, {}),
    ],
)
def test_hard_and_easy_come_from_the_median_gap(gaps, threshold, found):
    pairs = [pair("maths", "a", "b", str(i), score_gap=gap) for i, gap in enumerate(gaps)]
    assert slices_of(pair("maths", "a", "b", "no gap"), *pairs) == (threshold, found)


def test_a_set_gap_goes_before_the_median_and_named_slices_before_both():
    named = pair("maths", "a", "b", score_gap=0.1, slices=["easy"])
    other = pair("maths", "a", "b", "r", score_gap=3, slices=["private"])
    assert slices_of(named, other, hard_gap=5.0) == (5.0, {"easy": 1, "hard": 1, "private": 1})
