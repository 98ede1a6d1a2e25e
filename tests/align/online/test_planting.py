"""A pattern that is written into a reply is there."""

import random

import pytest
from internlm2_align.online.features import Feature, Lengths, features_of
from internlm2_align.online.planting import MARKDOWN, with_feature

TEXTS = ("It is 7.\nSo we are done.", "答案是七。")
WRITABLE = [
    Feature("prefix", "Sure"),
    Feature("suffix", "!!wow"),
    Feature("phrase", "have a nice day"),
    Feature("phrase", "非常好"),
    Feature("repeats"),
    Feature("length", "long"),
    *(Feature("format", value) for value in MARKDOWN),
]


@pytest.mark.parametrize("feature", WRITABLE, ids=str)
@pytest.mark.parametrize("text", TEXTS)
def test_what_is_written_is_shown(feature, text):
    lengths = Lengths(0, len(text) + 3)
    assert feature not in features_of(text, lengths)
    for seed in range(10):
        assert feature in features_of(with_feature(feature, text, random.Random(seed)), lengths)


def test_words_do_not_grow_together():
    assert with_feature(Feature("prefix", "Sure,"), "it is 7.", random.Random(0)) == "Sure, it is 7."
    assert with_feature(Feature("suffix", "Bye"), "It is 7.", random.Random(0)) == "It is 7. Bye"
    assert with_feature(Feature("suffix", "再见"), "是七。", random.Random(0)) == "是七。再见"


@pytest.mark.parametrize("feature", [Feature("language", "han"), Feature("choice", "B"), Feature("format", "table")])
def test_what_no_rule_can_write(feature):
    assert with_feature(feature, TEXTS[0], random.Random(0)) is None
