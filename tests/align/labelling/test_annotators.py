"""Reward models and people as annotators."""

from functools import partial

import pytest
import torch
from internlm2_align import Conditions, ConversationEncoder, RewardModel
from internlm2_align.labelling.annotator import Failure
from internlm2_align.labelling.reward import RewardAnnotator
from internlm2_align.people import Queue
from internlm2_align.preferences.comparison import Comparison, Judgement
from internlm2_align.reward.network import start_reward
from internlm2_core.text import load_tokenizer

TIME = "2026-01-01T00:00:00+00:00"


def comparison(name, domain="maths", replies=("12", "13 is it")):
    return Comparison(name, domain, ({"role": "user", "content": f"{name}?"},), replies)


@pytest.fixture
def make_reward(tmp_path, save_random_model):
    sizes = {"layers": 1, "dim": 32, "num_kv_heads": 1, "q_per_kv": 1, "ffn_dim": 32, "head_dim": 32}
    sft = save_random_model(tmp_path / "sft", max_positions=256, **sizes)
    encoder = ConversationEncoder(load_tokenizer(sft), Conditions({"maths": {"en": "Right?"}}), 256)

    def make(name, seed, sign=1):
        model = RewardModel(partial(start_reward, sft, seed=seed), encoder)
        model.configure_model()
        with torch.no_grad():
            model.net.v_head.weight.mul_(30 * sign)
        model.save(tmp_path / name, sft)
        return tmp_path / name

    return make


def test_a_reward_model_prefers_what_it_scores_higher(make_reward):
    folder = make_reward("one", 1)
    asked = [comparison(f"{i} + {i}", replies=(str(i), str(i * i + 1))) for i in range(2, 12)]
    found = {each.comparison: each for each in RewardAnnotator(folder).judge(asked, None)}
    model = RewardModel.load(folder)
    for each in asked:
        talks = [[*each.prompt, {"role": "assistant", "content": reply}] for reply in each.replies]
        first, second = (model.score(talk, "maths") for talk in talks)
        assert found[each.id].verdict == ("first" if first > second else "second")
        assert found[each.id].margin == pytest.approx(
            abs(2 * model.compare(each.prompt, *each.replies, "maths") - 1), abs=1e-4
        )
        assert found[each.id].meta["scores"][str(folder)] == pytest.approx([first, second], abs=1e-4)
    assert {each.annotator for each in found.values()} == {f"reward {folder}"}
    assert {each.verdict for each in RewardAnnotator(folder, min_margin=0.9999).judge(asked, None)} == {"tie"}


def test_models_that_disagree(make_reward):
    one, other = make_reward("one", 1), make_reward("other", 1, sign=-1)
    [answer] = RewardAnnotator([one, other]).judge([comparison("q")], None)
    assert (answer.verdict, answer.remark, len(answer.meta["scores"])) == ("tie", "The models disagree.", 2)
    [answer] = RewardAnnotator([one, other], disagreement="skip").judge([comparison("q")], None)
    assert answer.verdict == "skip"
    alone = next(RewardAnnotator(one).judge([comparison("q")], None))
    [twice] = RewardAnnotator([one, make_reward("same", 1)]).judge([comparison("q")], None)
    assert (twice.verdict, twice.margin) == (alone.verdict, pytest.approx(alone.margin))


def test_what_a_reward_model_cannot_score_is_a_counted_fault(make_reward, tmp_path):
    asked = [comparison("law", "law"), comparison("q"), comparison("long", replies=("1" * 400, "2"))]
    found = {
        each.comparison: each for each in RewardAnnotator(make_reward("one", 1), max_tokens=256).judge(asked, None)
    }
    assert isinstance(found["q"], Judgement)
    assert {name: each.reason for name, each in found.items() if isinstance(each, Failure)} == {
        "law": "no_condition",
        "long": "too_long",
    }
    [alone] = RewardAnnotator(tmp_path / "one").judge(asked[:1], None)
    assert alone.reason == "no_condition"
    with pytest.raises(ValueError, match="disagreement=both must be one of tie, skip"):
        RewardAnnotator("x", disagreement="both")


def test_people_answer_through_their_queue(tmp_path):
    from internlm2_align.labelling.people import PeopleAnnotator

    asked = [comparison("a"), comparison("b")]
    annotator = PeopleAnnotator(serve=False)
    assert list(annotator.judge(asked, tmp_path)) == []
    said = Judgement("a", "second", "Li Lei", TIME, 0.5)
    Queue(tmp_path).judge(said)
    assert list(annotator.judge(asked, tmp_path)) == [said]
