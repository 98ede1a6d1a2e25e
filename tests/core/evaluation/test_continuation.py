"""Loss of a text after a context, against the network's own logits."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from internlm2_core.checkpoint import load_model
from internlm2_core.evaluation import ContinuationLoss
from internlm2_core.text import load_tokenizer


@pytest.fixture(scope="module")
def folder(save_random_model, tmp_path_factory):
    sizes = {
        "layers": 2,
        "dim": 32,
        "num_kv_heads": 1,
        "q_per_kv": 2,
        "ffn_dim": 48,
        "head_dim": 16,
        "max_positions": 24,
    }
    return save_random_model(tmp_path_factory.mktemp("model"), **sizes)


@torch.no_grad()
def by_hand(folder, context, text):
    tokenizer = load_tokenizer(folder)
    ids = torch.tensor([*tokenizer.begin, *tokenizer.encode(context), *tokenizer.encode(text)])
    count = len(tokenizer.encode(text)) - 1
    logits = load_model(folder).eval()(ids[None])[0]
    return float(F.cross_entropy(logits[-1 - count : -1], ids[-count:], reduction="sum")), count


def test_losses_are_those_of_the_text_alone(folder):
    pairs = [("", "abcd"), ("xyz ", "abcd"), ("", "中"), ("q", "rs")]
    losses = ContinuationLoss(str(folder), "cpu").losses(pairs)
    for found, (context, text) in zip(losses, pairs, strict=True):
        nats, count = by_hand(folder, context, text)
        assert found == (pytest.approx(nats, rel=1e-4), count)
    assert losses[0][1] == losses[1][1] and losses[0][0] != losses[1][0]


def test_one_token_has_no_loss(folder):
    assert ContinuationLoss(str(folder), "cpu").losses([("", "a"), ("", ""), ("ab", "cd")])[:2] == [(0.0, 0), (0.0, 0)]


def test_what_is_too_long_is_cut_from_the_context_first(folder):
    scorer = ContinuationLoss(str(folder), "cpu")
    context = "0123456789" * 3
    ((nats, count),) = scorer.losses([(context, "abcdefgh")])
    assert count == 7 and nats == pytest.approx(by_hand(folder, context[-16:], "abcdefgh")[0], rel=1e-4)
    ((nats, count),) = scorer.losses([(context, "abcdefgh" * 4)])
    assert count == 23 and nats == pytest.approx(by_hand(folder, "", ("abcdefgh" * 4)[:24])[0], rel=1e-4)


def test_it_pickles_without_the_model_and_knows_which_one_it_is(folder):
    scorer = ContinuationLoss(str(folder), "cpu")
    before = scorer.losses([("a", "bcd")])
    assert len(pickle.dumps(scorer)) < 5000 and pickle.loads(pickle.dumps(scorer)).losses([("a", "bcd")]) == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert ContinuationLoss(str(folder), "cpu").files != scorer.files
    with pytest.raises(FileNotFoundError, match=r"checkpoint=/nowhere is not a model folder\."):
        ContinuationLoss("/nowhere")
