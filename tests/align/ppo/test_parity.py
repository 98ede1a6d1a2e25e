"""PPO's arithmetic is that of TRL 1.12.0 where the two agree, and its gradient that of plain arithmetic in float64.

``trl_reference.json`` holds what TRL computed (``make_trl_reference.py``). It whitens advantages, which we do not, so its
losses are compared on its advantages.
"""

import json
from pathlib import Path

import pytest
import torch
from internlm2_align.ppo.advantages import gae
from internlm2_align.ppo.losses import policy_loss, step_figures, value_loss
from internlm2_align.ppo.responses import Responses
from internlm2_align.ppo.rewards import token_kl, token_rewards
from internlm2_align.ppo.rollout import judge_rollout
from internlm2_align.ppo.sampling import Scored
from internlm2_align.ppo.updates import actor_losses
from internlm2_align.reward.network import from_language_model

TRL = json.loads(Path(__file__).with_name("trl_reference.json").read_text())["ppo"]


def tensors(found):
    return {name: torch.tensor(value) for name, value in found.items()}


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_divergence_rewards_and_advantages_are_those_of_trl(estimator):
    there, settings = tensors(TRL[estimator]["rollout"]), TRL[estimator]["settings"]
    mask = torch.ones_like(there["logprobs"]).bool()
    sides = (there["logprobs"], there["ref_logprobs"], mask)
    torch.testing.assert_close(token_kl(*sides, estimator), there["kl"], atol=1e-5, rtol=1e-5)
    rewards = token_rewards(there["scores"], *sides, kl_coefficient=settings["kl_coef"], kl_estimator=estimator)
    advantages, returns = gae(rewards, there["values"], mask, gamma=settings["gamma"], lam=settings["lam"])
    torch.testing.assert_close(advantages, there["advantages"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(returns, there["returns"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_losses_and_figures_of_a_second_pass_are_those_of_trl(estimator):
    there, clip = tensors(TRL[estimator]["step"]), TRL[estimator]["settings"]["cliprange"]
    mask = torch.ones_like(there["new_logprobs"]).bool()
    step = (there["new_logprobs"], there["mb_logprobs"], there["mb_advantage"], mask)
    tokens = mask.sum()
    assert policy_loss(*step, tokens=tokens, clip=clip).item() == pytest.approx(there["pg_loss"].item(), rel=1e-5)
    value = value_loss(there["vpred"], there["mb_return"], mask, tokens=tokens)
    assert value.item() == pytest.approx(there["vf_loss"].item(), rel=1e-5)
    figures = step_figures(*step, tokens=tokens, clip=clip)
    assert 0 < figures["clip_fraction"].item() == pytest.approx(there["clip_fraction"].item())
    assert figures["approx_kl"].item() == pytest.approx(there["approx_kl"].item(), rel=1e-5)


def test_the_gradient_is_that_of_plain_arithmetic_in_double_precision(language_model):
    """Softmax, logarithm, ratio and minimum written out, one reply at a time, after a step away from the sampling."""
    responses = Responses([[1, 2, 3], [4], [5, 6]], [[9, 10], [11, 12, 13, 14], [15]])
    scored = Scored(responses, [], torch.tensor([1.0, -1.0, 0.5]), torch.ones(3).bool())
    critic = from_language_model(language_model, torch.Generator().manual_seed(0))
    rollout = judge_rollout(scored, language_model, language_model, critic)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for weight in language_model.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    losses = actor_losses(language_model, rollout, responses.tokens, 6, policy_loss, clip=0.2, temperature=0.7)
    language_model.zero_grad()
    total = 0.0
    for part in losses:
        loss = part().loss
        loss.backward()
        total += loss.item()
    found = {name: weight.grad.clone() for name, weight in language_model.named_parameters()}
    language_model.double().zero_grad()
    terms, were_clipped = [], set()
    for row, (prompt, reply) in enumerate(zip(responses.prompts, responses.responses, strict=True)):
        logits = language_model(torch.tensor([[*prompt, *reply]]))[0] / 0.7
        for place, token in enumerate(reply):
            exps = logits[len(prompt) + place - 1].exp()
            ratio = exps[token] / exps.sum() / rollout.logprobs[row, place].double().exp()
            gain = rollout.advantages[row, place].double()
            clipped = min(max(ratio.item(), 0.8), 1.2)
            terms.append(ratio * gain if (ratio * gain).item() <= clipped * gain.item() else clipped * gain)
            were_clipped.add(terms[-1].requires_grad)
    assert were_clipped == {True, False}  # both branches are seen
    loss = -sum(terms) / responses.tokens
    loss.backward()
    assert total == pytest.approx(loss.item(), rel=1e-5)
    largest = max(weight.grad.abs().max().item() for weight in language_model.parameters())
    for name, weight in language_model.named_parameters():
        torch.testing.assert_close(found[name].double(), weight.grad, atol=1e-5 * largest, rtol=1e-3)
