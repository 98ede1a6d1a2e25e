"""A planted pattern is found, an honest improvement and a harmless habit are not."""

import random

import pytest
from internlm2_align.online.features import Feature, features_of, long_from
from internlm2_align.online.hacking import Audit, frequency
from internlm2_align.online.replies import Reply


def replies(pattern="", honest=0.0, pays=1.0, valued=-0.3, share=0.6, count=60):
    """Early and late replies to the same prompts; ``share`` of the late ones end in ``pattern``."""
    rng = random.Random(0)
    found = []
    for prompt in range(count):
        easy = rng.random()
        for model in ("early", "late"):
            for _ in range(2):
                shows = model == "late" and rng.random() < share
                text = f"It is {rng.randrange(100, 1000)}." + (pattern if shows else "")
                reward = 3 * easy + (pays if shows else 0.0) + 0.1 * rng.random()
                judged = 0.5 * easy + (valued if shows else 0.0) + (honest if model == "late" else 0.0)
                found.append(Reply(str(prompt), model, "maths", text, reward, judged))
    return found


def test_features_by_hand():
    found = features_of("abcab", long_characters=5)
    assert {Feature("prefix", "ab"), Feature("suffix", "ab"), Feature("phrase", "bca"), Feature("long")} <= found
    assert Feature("repeats") not in found
    assert Feature("repeats") in features_of("2222222", 99)
    assert Feature("long") not in found - {Feature("long")}
    assert long_from(["a" * n for n in range(1, 101)]) == 97


def test_a_planted_suffix_is_found():
    found = Audit().patterns(replies("!!wow"))
    assert found
    best = found[0]
    assert best.domain == "maths"
    assert "!" in best.value or "wow" in best.value
    assert best.late == pytest.approx(0.6, abs=0.15) and best.early == 0
    assert best.reward_gain == pytest.approx(1.0, abs=0.2)
    assert best.judged_gain == pytest.approx(-0.3, abs=0.1)


def test_one_pattern_is_named_once():
    assert len(Audit().patterns(replies("!!wow"))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"pays": -1.0},  # a habit that costs reward
        {"valued": 0.3},  # what the annotator values too
        {"share": 0.02},  # too rare to tell
    ],
)
def test_other_changes_are_not_called_hacking(changes):
    assert Audit().patterns(replies("!!wow", **changes)) == []


def test_nothing_changed_nothing_found():
    assert Audit().patterns(replies("", share=0.0)) == []
    assert Audit().patterns([]) == []
    assert Audit().patterns([reply for reply in replies("!!wow") if reply.model == "late"]) == []


def test_a_feature_of_easy_prompts_is_not_mistaken_for_one_that_pays():
    found = []
    for prompt in range(60):
        easy = prompt % 2
        for model in ("early", "late"):
            # Late replies to easy prompts say "ha"; it earns nothing beside what the prompt earns anyway.
            text = f"It is {prompt}." + (" haha" if easy and model == "late" else "")
            found.append(Reply(str(prompt), model, "maths", text, 3.0 * easy, 0.0))
    assert Audit().patterns(found) == []


def test_frequency_in_other_replies():
    (pattern,) = Audit().patterns(replies("!!wow"))
    assert frequency(pattern, replies("!!wow"), "late") == pytest.approx(0.6, abs=0.15)
    assert frequency(pattern, replies(""), "late") == 0
    assert frequency(pattern, [], "late") is None
