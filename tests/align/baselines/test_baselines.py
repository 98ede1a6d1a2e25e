"""DPO learns what pairs prefer, RLOO raises the reward it is given, and both hold to their formulas."""

import json
import math
from collections import Counter
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from internlm2_align.baselines import DPO, RLOOSystem
from internlm2_align.baselines.dpo import WholePairs
from internlm2_align.baselines.losses import dpo_loss, leave_one_out
from internlm2_align.ppo.prompt import Prompt
from internlm2_align.ppo.prompts import QueryLoader
from internlm2_align.ppo.settings import PPOSettings
from internlm2_align.preferences.preference import Preference
from internlm2_align.reward.conditions import Conditions, Unconditional
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.network import from_language_model
from internlm2_align.reward.pairs import encode_pairs
from internlm2_align.roles import Roles
from internlm2_core.generation import Sampling
from internlm2_core.nn.language_model import LanguageModel

TRL = json.loads((Path(__file__).parents[1] / "ppo" / "trl_reference.json").read_text())
QUIET = partial(
    L.Trainer, max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
    enable_checkpointing=False, use_distributed_sampler=False, num_sanity_val_steps=0,
)  # fmt: skip


@pytest.fixture
def make_net(language_model, size):
    start = {name: value.clone() for name, value in language_model.state_dict().items()}

    def make():
        net = LanguageModel(size)
        net.load_state_dict(start)
        return net

    return make


@pytest.fixture
def encoder(tokenizer):
    return ConversationEncoder(tokenizer, Unconditional(("maths",)), 200)


@pytest.fixture
def pairs(encoder):
    found = []
    for index in range(12):
        asked = ({"role": "user", "content": f"{index}+1?"},)
        found.append(Preference("maths", asked, f"{index + 1}!", "no" + "o" * (index % 3)))
    return encode_pairs(found, encoder, Counter())


def one_by_one(net, pair, ending):
    """Log-probabilities of both replies, each in a row of its own."""
    found = []
    for reply in pair.group.replies:
        ids, said = [*pair.group.prompt, *reply[:-ending]], len(reply) - ending
        logprobs = net(torch.tensor([ids[:-1]])).log_softmax(-1)[0]
        places = torch.tensor(ids[1:])
        found.append(logprobs.gather(1, places[:, None])[-said:].sum())
    return torch.stack(found)


def test_gains_are_those_of_replies_one_by_one(make_net, encoder, pairs):
    module = DPO(make_net, encoder)
    module.configure_model()
    module.reference.output.weight.data *= 0.5
    chosen, rejected = module(pairs[:3])
    for row, pair in enumerate(pairs[:3]):
        ending = len(encoder.ending)
        gains = one_by_one(module.actor, pair, ending) - one_by_one(module.reference, pair, ending)
        torch.testing.assert_close(torch.stack((chosen[row], rejected[row])), gains, atol=1e-4, rtol=1e-4)


def test_dpo_learns_what_is_preferred_however_it_is_cut(make_net, encoder, pairs):
    weights = []
    for budget in (16_384, 60):
        module = DPO(make_net, encoder, partial(torch.optim.SGD, lr=0.5), micro_batch_tokens=budget)
        trainer = QUIET(max_steps=8, max_epochs=-1)
        trainer.fit(module, WholePairs(10_000).loader(pairs))
        weights.append(dict(module.actor.named_parameters()))
        assert trainer.callback_metrics["train/accuracy"] > 0.9 and trainer.callback_metrics["train/loss"] < math.log(2)
    for name, weight in weights[0].items():
        torch.testing.assert_close(weight, weights[1][name], atol=1e-5, rtol=1e-4)
    assert all(
        torch.equal(weight, make_net().state_dict()[name]) for name, weight in module.reference.state_dict().items()
    )


def test_the_loss_of_dpo_by_hand():
    loss = dpo_loss(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.5]), pairs=2, beta=0.1)
    assert loss.item() == pytest.approx((math.log1p(math.exp(-0.3)) + math.log1p(math.exp(0.05))) / 2)


def test_leave_one_out_by_hand():
    rewards = torch.tensor([[1.0, 2.0], [0.0, 9.0], [4.0, 0.5], [-1.0, 0.0]])
    mask = torch.tensor([[True, True], [True, False], [True, True], [True, True]])
    advantages, returns = leave_one_out(rewards, torch.full((4, 2), 7.0), mask, replies=2)
    # Replies are worth 3, 0 and 4.5, -1.
    torch.testing.assert_close(advantages, torch.tensor([[3.0, 3.0], [-3.0, 0.0], [5.5, 5.5], [-5.5, -5.5]]))
    torch.testing.assert_close(returns, torch.tensor([[3.0, 3.0], [0.0, 0.0], [4.5, 4.5], [-1.0, -1.0]]))
    with pytest.raises(ValueError, match=r"replies=3 must be 2 or more, and divide the 4 replies"):
        leave_one_out(rewards, rewards, mask, replies=3)


def test_dpo_is_that_of_trl():
    found = TRL["dpo"]
    sides = [
        torch.tensor(found[f"{side}_logps"]) - torch.tensor(found[f"ref_{side}_logps"])
        for side in ("chosen", "rejected")
    ]
    loss = dpo_loss(*sides, pairs=len(sides[0]), beta=found["beta"])
    assert loss.item() == pytest.approx(found["loss"], rel=1e-5)


def test_rloo_is_that_of_trl():
    found = TRL["rloo"]
    rewards = torch.tensor(found["rewards"])
    mask = torch.ones(len(rewards), 1).bool()
    advantages, _ = leave_one_out(rewards[:, None], rewards[:, None], mask, replies=found["num_generations"])
    torch.testing.assert_close(advantages[:, 0], torch.tensor(found["advantages"]), atol=1e-5, rtol=1e-5)


def test_rloo_raises_the_reward_without_a_critic(make_net, tokenizer):
    encoder = ConversationEncoder(tokenizer, Conditions({"maths": {"en": "MM"}}), 200)

    def reward():
        net = from_language_model(make_net(), torch.Generator().manual_seed(5))
        net.v_head.weight.data *= 10
        return net

    def build(**changes):
        return RLOOSystem(
            Roles(actor=make_net, critic=reward, reference=make_net, reward=reward), encoder,
            sampling=Sampling(max_new_tokens=4), actor_optimizer=partial(torch.optim.AdamW, lr=5e-3), replies=4,
            settings=PPOSettings(**({"warmup_iterations": 0, "kl_coefficient": 0.0} | changes)),
        )  # fmt: skip

    asked = [({"role": "user", "content": str(index)},) for index in range(4)]
    prompts = [Prompt(messages, tuple(encoder.chat.prompt(messages)), "maths") for messages in asked]
    system = build()
    QUIET().fit(system, QueryLoader(prompts, 4, 25))
    rewards = [entry["train/reward"] for entry in system.history]
    assert sum(rewards[-5:]) > sum(rewards[:5]) + 5
    assert system.critic is None and len(system.latest[2].scores) == 16 and "train/value_loss" not in system.history[-1]
    with pytest.raises(ValueError, match=r"warmup_iterations=2 must be 0 in RLOO"):
        build(warmup_iterations=2)
