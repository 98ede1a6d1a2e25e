"""Texts that rise are found and named whole."""

import random

import numpy as np
import pytest
from internlm2_align.online.features import Feature, Lengths, features_of
from internlm2_align.online.phrases import rising_texts, whole

WORDS = ("red", "green", "blue", "small", "large", "old", "new", "fast", "slow", "cat", "dog", "fox", "sits", "runs")
LONG = "as every child in this wide and wonderful world already knows very well indeed"


def corpus(where, text, seed=0):
    """100 early and 100 late replies of random words; 50 late ones hold ``text`` at the beginning, end or anywhere."""
    rng = random.Random(seed)
    found = []
    for number in range(200):
        words = rng.choices(WORDS, k=rng.randint(6, 14))
        place = {"prefix": 0, "suffix": len(words), "phrase": rng.randint(1, len(words) - 1)}[where]
        if number >= 150:
            words.insert(place, text)
        found.append(features_of(" ".join(words), Lengths()))
    return found, np.arange(200) < 100


def shown_by(feature, shown):
    return np.array([feature in reply for reply in shown])


@pytest.mark.parametrize("text", [LONG, "good day", "这是一个很好的问题", "!!wow"])
@pytest.mark.parametrize("where", ["prefix", "suffix", "phrase"])
def test_texts_are_named_whole(where, text):
    shown, early = corpus(where, text)
    found = rising_texts(shown, early, ~early, 0.2)
    assert where in {feature.kind for feature in found}
    for feature, rows in found.items():
        assert (rows == shown_by(feature, shown)).all()  # counted and asked for, the same
        if feature.kind == where and rows[150:].all():
            assert whole(feature, shown, rows) == Feature(where, text)


def test_nothing_rises_where_nothing_changed():
    shown, early = corpus("phrase", "blue")
    assert rising_texts(shown[:100] + shown[:100], early, ~early, 0.1) == {}
    assert rising_texts([features_of("", Lengths())] * 200, early, ~early, 0.1) == {}


def test_the_end_of_the_sentence_before_is_not_part_of_the_name():
    texts = ["It is 7. Have a nice day"] * 5 + ["It is 8. Have a nice day"] * 5 + ["It is 7."] * 5
    shown = [features_of(text, Lengths()) for text in texts]
    rows = np.arange(15) < 10
    assert whole(Feature("suffix", "nice day"), shown, rows) == Feature("suffix", "Have a nice day")
