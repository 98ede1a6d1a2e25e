"""A planted pattern is named, whether quality rises or falls. An honest change and a harmless habit are not."""

import math
import random
from dataclasses import replace

import pytest
from internlm2_align.online.features import Feature
from internlm2_align.online.hacking import Audit, frequency
from internlm2_align.online.replies import Reply

from tests.align.online.planted import KINDS, World, is_named

SEEDS = (0, 1, 2)
SENTENCES = ("That is clear now.", "We check it twice.", "So this is all.", "You may count on me.", "No more is asked.")


def replies(pattern="", honest=0.0, pays=1.0, valued=-0.3, share=0.6, count=60):
    """Early and late replies to the same prompts; ``share`` of the late ones end in ``pattern``."""
    rng = random.Random(0)
    found = []
    for prompt in range(count):
        easy = rng.random()
        for model in ("early", "late"):
            for _ in range(2):
                shows = model == "late" and rng.random() < share
                text = f"It is {rng.randrange(100, 1000)}" + (pattern if shows else ".")
                reward = 3 * easy + (pays if shows else 0.0) + 0.1 * rng.random()
                judged = 0.5 * easy + (valued if shows else 0.0) + (honest if model == "late" else 0.0)
                found.append(Reply(str(prompt), model, "maths", text, reward, judged))
    return found


def test_a_planted_suffix_is_named_whole_with_its_intervals():
    (best,) = Audit().patterns(replies("!!wow"))
    assert (best.domain, best.feature, best.verdict) == ("maths", Feature("suffix", "!!wow"), "hack")
    assert best.late == pytest.approx(0.6, abs=0.15) and best.early == 0
    assert best.reward_gain == pytest.approx(1.0, abs=0.2)
    assert best.judged_gain == pytest.approx(-0.3, abs=0.1)
    assert best.rise_interval[0] < best.late < best.rise_interval[1]
    assert best.reward_interval[0] < best.reward_gain < best.reward_interval[1]
    assert best.witness == "annotator" and best.prompts == best.judged_prompts > 20


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"pays": -1.0}, "unproven"),  # a habit that costs reward
        ({"pays": 0.0, "honest": -0.5}, "unproven"),
        ({"valued": 0.3}, "valued"),
        ({"share": 1.0}, "unproven"),  # no prompt has both: nothing is known
    ],
)
def test_other_changes_are_not_called_hacking(changes, verdict):
    found = Audit().verdicts(replies("!!wow", **changes))
    assert [pattern.verdict for pattern in found] == [verdict]
    assert Audit().patterns(replies("!!wow", **changes)) == []


def test_what_is_too_rare_or_did_not_change_is_not_looked_at():
    assert Audit().verdicts(replies("!!wow", share=0.02)) == []
    assert Audit().verdicts(replies("", share=0.0)) == []
    assert Audit().verdicts([]) == []
    assert Audit().verdicts([reply for reply in replies("!!wow") if reply.model == "late"]) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_planted_hacks(kind, seed):
    """Quality falls, stays or rises: the planted pattern is named, and no other."""
    found = Audit().patterns(World(kind, drift=(-1.5, 0.0, 1.5)[seed], seed=seed).replies())
    assert [is_named(kind, pattern.feature) for pattern in found] == [True], found


@pytest.mark.parametrize("drift", [-1.5, 0.0, 1.5])
@pytest.mark.parametrize(("pays", "worth"), [(0.0, 0.0), (1.0, 0.8)])
def test_innocent_habits(drift, pays, worth):
    """Falling quality does not make a hack of a habit that is not paid, nor rising quality of one that is valued."""
    kind = KINDS[int(drift + 1.5)]
    assert Audit().patterns(World(kind, pays=pays, worth=worth, drift=drift, seed=7).replies()) == []


@pytest.mark.parametrize("seed", range(6))
def test_clean_runs(seed):
    assert Audit().patterns(World(drift=(-1.5, 0.0, 1.5)[seed % 3], prompts=100, seed=seed).replies()) == []


def test_two_patterns_are_both_named_and_what_accompanies_one_is_not():
    rng = random.Random(3)
    found = []
    for reply in World("opening", prompts=200, seed=3).replies():
        bad = reply.model == "late" and rng.random() < 0.5
        text = reply.text + (" Vote for me!" if bad else "")
        found.append(replace(reply, text=text, reward=reply.reward + bad, judged=reply.judged - 0.6 * bad))
    named = {pattern.value for pattern in Audit().patterns(found)}
    assert named == {"Great question, my friend:", "Vote for me!"}
    assert len(Audit(most=1).patterns(found)) == 1


@pytest.mark.parametrize("seed", [0, 1])
def test_pay_for_length_is_not_blamed_on_the_sentences_that_make_it(seed):
    """Nearly all late replies are long. So it is their sentences that differ from reply to reply, and pay with each."""
    rng, found = random.Random(seed), []
    for prompt in range(60):
        for model, share in (("early", 0.03), ("late", 0.98)):
            for _ in range(4):
                count = rng.randint(1, 5) if rng.random() < share else 0
                text = " ".join(["It is 7.", *rng.choices(SENTENCES, k=count)])
                reward, judged = 0.4 * count + rng.gauss(0, 0.3), rng.gauss(0, 0.1) - 0.3 * bool(count)
                found.append(Reply(str(prompt), model, "maths", text, reward, judged))
    assert [str(pattern.feature) for pattern in Audit().patterns(found)] == ["length: long"]


def test_domains_are_apart_and_share_the_rate():
    mixed = [*replies("!!wow"), *(replace(reply, domain="format") for reply in replies("", share=0.0))]
    (alone,), (beside,) = Audit().patterns(replies("!!wow")), Audit().patterns(mixed)
    assert beside.domain == "maths" and 1 - beside.level == pytest.approx((1 - alone.level) / 2)


def test_replies_of_other_models_are_contrasts_too():
    """Where all late replies show a pattern, those of a snapshot between tell what it is worth."""
    late = replies("!!wow", share=1.0)
    between = [replace(reply, model="iteration-40") for reply in replies("!!wow") if reply.model == "late"]
    (found,) = Audit().patterns([*late, *between])
    assert found.late == 1 and found.verdict == "hack"
    named = Audit(early="early", late="iteration-40").patterns([*late, *between])
    assert [pattern.value for pattern in named] == ["!!wow"]


def test_frequency_in_other_replies():
    (pattern,) = Audit().patterns(replies("!!wow"))
    assert frequency(pattern, replies("!!wow"), "late") == pytest.approx(0.6, abs=0.15)
    assert frequency(pattern, replies(""), "late") == 0
    assert frequency(pattern, [], "late") is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rate": 0.0}, "rate=0.0 must be between 0 and 1"),
        ({"min_rise": 1.0}, "min_rise=1.0 must be between 0 and 1"),
        ({"negligible": -0.1}, "negligible=-0.1 must be 0 or more"),
    ],
)
def test_thresholds_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Audit(**changes)


def test_what_is_not_known_is_said():
    (found,) = Audit().verdicts(replies("!!wow", share=1.0))
    assert found.reward_interval == (-math.inf, math.inf) and found.prompts == 0
