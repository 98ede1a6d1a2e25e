import pytest
import torch
from internlm2_align.finite import check_figures, check_weights
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.scoring import Scorer
from internlm2_core.training import NotFiniteError


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_refused_by_name(bad):
    check_figures({"reward": 1.0, "kl": 0.0}, "in iteration 3")
    with pytest.raises(NotFiniteError, match=r"kl=(nan|inf|-inf) in iteration 3 must be finite"):
        check_figures({"reward": 1.0, "kl": bad}, "in iteration 3")
    check_weights({"a": torch.ones(3)}, "out")
    with pytest.raises(ValueError, match=r"out is not written: b holds values that are nan or infinite"):
        check_weights({"a": torch.ones(3), "b": torch.tensor([1.0, bad])}, "out")


def test_a_reward_model_that_scores_nan_is_refused(tokenizer, language_model):
    net = from_language_model(language_model, torch.Generator().manual_seed(0))
    net.v_head.weight.data[0, 0] = float("nan")
    encoder = ConversationEncoder(tokenizer, Conditions({"maths": {"en": "M"}}), 200)
    with pytest.raises(ValueError, match=r"scores conversation 1 of 2 with \[nan\], which must be finite"):
        Scorer(net, encoder).scores([encoder.group("2+2?", [reply], "maths") for reply in "45"])
