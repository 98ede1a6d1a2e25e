"""Figures by domain and slice, by hand."""

import pytest
from internlm2_align.reward.evaluation import pair_figures
from internlm2_align.reward.preference import Preference


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
