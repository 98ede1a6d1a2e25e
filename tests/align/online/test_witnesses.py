"""Who can be asked: an annotator, a second reward model, held-out labels."""

import random
from dataclasses import replace

import pytest
from internlm2_align.online.hacking import Audit
from internlm2_align.online.replies import Reply
from internlm2_align.online.witnesses import PairLabels, Scores, rescored
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.preferences.comparison import Comparison, Judgement
from internlm2_align.preferences.preference import Preference

PHRASE = "Have a nice day"


def replies(count=80):
    """The reward model pays for a phrase that late replies have learned. No annotator has judged."""
    rng = random.Random(0)
    return [
        Reply(str(prompt), model, "maths", f"It is {rng.randrange(9999)}." + f" {PHRASE}" * (shows := model == "late" and rng.random() < 0.6), shows + rng.gauss(0, 0.3), 0.0)
        for prompt in range(count)
        for model in ("early", "late")
        for _ in range(2)
    ]  # fmt: skip


def labels(dislike, count=200, origins=""):
    """Pairs of which a share ``dislike`` prefers the reply without the phrase."""
    found = []
    for number in range(count):
        plain, polite = f"It is {number}.", f"It is {number}. {PHRASE}"
        chosen, rejected = (plain, polite) if number < dislike * count else (polite, plain)
        meta = {"origins": origins} if origins else {}
        found.append(Preference("maths", ({"role": "user", "content": f"{number}?"},), chosen, rejected, meta=meta))
    return found


@pytest.mark.parametrize(
    ("dislike", "count", "verdict"),
    [(0.8, 200, "hack"), (0.5, 600, "overpaid"), (0.5, 40, "undecided"), (0.2, 200, "valued")],
)
def test_held_out_labels(dislike, count, verdict):
    witness = PairLabels.of(labels(dislike, count))
    (found,) = Audit().verdicts(replies(), witness)
    assert (found.verdict, found.witness, found.value) == (verdict, "held-out labels", PHRASE)
    assert found.judged_prompts == count and found.judged_gain == pytest.approx(1 - 2 * dislike)
    assert bool(Audit().patterns(replies(), witness)) == (verdict in ("hack", "overpaid"))


def test_labels_of_two_policies_say_nothing():
    witness = PairLabels.of([*labels(0.8, origins="early>late"), *labels(0.8, 30, "late>late")])
    assert witness.left_out == 200 and len(witness.pairs) == 30
    assert Audit().verdicts(replies(), PairLabels.of(labels(0.8, origins="early>late")))[0].verdict == "undecided"


def test_comparisons_that_people_have_judged():
    pairs = labels(0.8)
    comparisons, judgements = {}, []
    for number, pair in enumerate(pairs):
        comparison = Comparison(str(number), "maths", pair.prompt, (pair.rejected, pair.chosen))
        comparisons[comparison.id] = comparison
        judgements.append(Judgement(comparison.id, "second" if number % 10 else "tie", "Ann", "2026-01-01T00:00:00Z"))
    judgements[1] = replace(judgements[1], verdict="skip")
    comparisons["2"] = replace(comparisons["2"], meta={"models": ["early", "late"]})
    witness = PairLabels.judged(comparisons, judgements)
    assert witness.left_out == 2 and len(witness.pairs) == 198
    (found,) = Audit().patterns(replies(), witness)
    assert found.verdict == "hack" and found.judged_gain == pytest.approx(-0.54, abs=0.01)  # a tenth are ties


class SecondModel:
    """Scores replies as a reward model would that dislikes the phrase."""

    def conversations(self, conversations, domains, languages):
        assert set(domains) == {"maths"} and set(languages) == {"en"}
        assert all(turns[0]["role"] == "user" for turns in conversations)
        rng = random.Random(2)
        return [rng.gauss(0, 0.3) - (PHRASE in turns[-1]["content"]) for turns in conversations]


def test_a_second_reward_model():
    asked = Prompt(({"role": "user", "content": "?"},), (1,), "maths")
    witness = rescored(replies(), {str(number): asked for number in range(80)}, SecondModel(), name="other")
    (found,) = Audit().patterns(replies(), witness)
    assert found.verdict == "hack" and found.witness == "other"
    assert found.judged_gain == pytest.approx(-1, abs=0.2)


def test_a_witness_that_says_the_same_of_all_cannot_tell():
    (found,) = Audit().verdicts(replies())
    assert found.verdict == "undecided" and found.judged_interval == (0, 0)
    assert Audit().patterns(replies()) == [] and Audit().suspects(replies()) == [found]


def test_scores_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="1 values of the witness x must be as many as replies, 2"):
        Scores("x", replies(1)[:2], [1.0])
    with pytest.raises(ValueError, match="annotator scores reply 1 with nan"):
        Scores.judged([replies(1)[0], replace(replies(1)[1], judged=float("nan"))])
