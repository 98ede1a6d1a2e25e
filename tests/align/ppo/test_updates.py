"""Losses and gradients of a step do not depend on micro-batches; an epoch deals everything out once."""

import pytest
import torch
from internlm2_align.ppo.losses import policy_loss, value_loss
from internlm2_align.ppo.responses import Responses
from internlm2_align.ppo.rollout import judge_rollout
from internlm2_align.ppo.sampling import Scored
from internlm2_align.ppo.updates import actor_losses, critic_losses, mini_batches, pretrain_losses
from internlm2_align.reward.network import from_language_model

RESPONSES = Responses([[1, 2, 3], [4], [5, 6], [7, 8]], [[9, 10], [11, 12, 13, 14], [15], [16, 17, 18]])


@pytest.fixture
def critic(language_model):
    return from_language_model(language_model, torch.Generator().manual_seed(0))


@pytest.fixture
def rollout(language_model, critic):
    scores = torch.tensor([1.0, -1.0, 0.5, 2.0])
    scored = Scored(RESPONSES, [], scores, torch.ones(4).bool())
    return judge_rollout(scored, language_model, language_model, critic)


def gradient(net, losses):
    net.zero_grad()
    total = 0.0
    for part in (make() for make in losses):
        part.loss.backward()
        total += part.loss.item()
    return total, {name: w.grad.clone() for name, w in net.named_parameters() if w.grad is not None}


def assert_same(first, second):
    assert first[0] == pytest.approx(second[0], abs=1e-6)
    assert first[1].keys() == second[1].keys()
    for name, value in first[1].items():
        torch.testing.assert_close(value, second[1][name], atol=1e-5, rtol=1e-4)


def test_micro_batches_change_nothing(language_model, critic, rollout):
    for whole, cut in ((1000, 5), (1000, 8)):
        assert_same(
            gradient(critic, critic_losses(critic, rollout, 10, whole, value_loss)),
            gradient(critic, critic_losses(critic, rollout, 10, cut, value_loss)),
        )
        assert_same(
            gradient(language_model, actor_losses(language_model, rollout, 10, whole, policy_loss, clip=0.2)),
            gradient(language_model, actor_losses(language_model, rollout, 10, cut, policy_loss, clip=0.2)),
        )


def test_the_first_ratio_is_one(language_model, rollout):
    losses = actor_losses(language_model, rollout, RESPONSES.tokens, 1000, policy_loss, clip=0.2)
    parts = [make() for make in losses]
    total = sum(part.loss.item() for part in parts)
    assert total == pytest.approx(-rollout.advantages.sum().item() / RESPONSES.tokens, abs=1e-5)
    assert sum(part.figures["clip_fraction"].item() for part in parts) == 0


def test_pretraining_loss_is_weighted_and_cut_by_rows(language_model):
    ids = torch.randint(0, 200, (4, 6), generator=torch.Generator().manual_seed(0))
    labels = ids.roll(-1, 1)
    labels[:, -1] = -100
    batch = {"input_ids": ids, "labels": labels, "position_ids": torch.arange(6).expand(4, 6)}
    whole = gradient(language_model, pretrain_losses(language_model, batch, 20, 1000, coefficient=0.5))
    cut = gradient(language_model, pretrain_losses(language_model, batch, 20, 7, coefficient=0.5))
    assert_same(whole, cut)
    expected = 0.5 * language_model(ids, batch["position_ids"], labels).cross_entropy.item() / 20
    assert whole[0] == pytest.approx(expected, rel=1e-5)
    assert list(pretrain_losses(language_model, None, 20, 7, coefficient=0.5)) == []


def test_an_epoch_deals_everything_out_once(rollout):
    text = {name: torch.arange(8).view(4, 2) for name in ("input_ids", "labels", "position_ids")}
    dealt = list(mini_batches(rollout, text, parts=2, epochs=2, seed=3))
    assert len(dealt) == 4
    for epoch in (dealt[:2], dealt[2:]):
        scores = sorted(score for part, _ in epoch for score in part.scores.tolist())
        assert scores == sorted(rollout.scores.tolist())
        assert torch.equal(torch.cat([t["input_ids"] for _, t in epoch]), text["input_ids"])
    with pytest.raises(ValueError, match=r"mini_batches=5 must be at most the 4 responses"):
        list(mini_batches(rollout, None, parts=5, epochs=1, seed=3))


def test_a_selection_keeps_rows_together(rollout):
    part = rollout.select([2, 0])
    assert part.responses.responses == [[15], [9, 10]]
    assert torch.equal(part.logprobs, rollout.logprobs[[2, 0], :2])
