"""One policy in sampling, ratios and divergence: its temperature, its entropy, and whether the engine has it."""

from dataclasses import replace

import pytest
import torch
from internlm2_align.ppo.figures import figures, sums_of
from internlm2_align.ppo.refusals import check_mismatch, check_sampling
from internlm2_align.ppo.responses import Responses, token_logprobs
from internlm2_align.ppo.rollout import judge_rollout
from internlm2_align.ppo.sampling import Scored
from internlm2_align.ppo.updates import actor_losses
from internlm2_align.reward.network import from_language_model
from internlm2_core.generation import LocalEngine, Sampling

PROMPTS = [[1, 2, 3], [4], [5, 6]]


def sampled(net, temperature):
    sampling = Sampling(max_new_tokens=6, temperature=temperature, seed=3)
    found = LocalEngine(net).generate(PROMPTS, sampling)
    responses = Responses(PROMPTS, [completion.ids for completion in found])
    logprobs = [completion.logprobs for completion in found]
    return Scored(responses, [], torch.zeros(3), torch.ones(3).bool(), temperature or 1.0, logprobs)


def distributions(net, scored):
    """What each token was drawn from, one sequence at a time."""
    found = []
    for prompt, reply in zip(scored.responses.prompts, scored.responses.responses, strict=True):
        logits = net(torch.tensor([[*prompt, *reply]]))[0, len(prompt) - 1 : -1] / scored.temperature
        found.append((torch.distributions.Categorical(logits=logits.detach()), torch.tensor(reply)))
    return found


@pytest.fixture
def critic(language_model):
    return from_language_model(language_model, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("temperature", [1.0, 0.5, 2.0, 0.0])
def test_logprobs_and_entropy_are_those_of_the_policy_that_sampled(language_model, critic, temperature):
    scored = sampled(language_model, temperature)
    rollout = judge_rollout(scored, language_model, language_model, critic)
    drawn = distributions(language_model, scored)
    logprobs = torch.cat([policy.log_prob(reply) for policy, reply in drawn])
    torch.testing.assert_close(rollout.logprobs[rollout.mask], logprobs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(rollout.reference_logprobs, rollout.logprobs)
    entropy = torch.cat([policy.entropy() for policy, _ in drawn]).mean().item()
    assert figures(sums_of(rollout))["entropy"] == pytest.approx(entropy, abs=1e-5)


def test_the_first_ratio_is_one_at_any_temperature(language_model, critic):
    rollout = judge_rollout(sampled(language_model, 0.5), language_model, language_model, critic)
    found = []

    def loss(logprobs, old, *_, **__):
        found.append((logprobs - old).abs().max().item())
        return logprobs.sum()

    for part in actor_losses(language_model, rollout, 1, 1000, loss, clip=0.2, temperature=0.5):
        part()
    assert max(found) < 1e-5


def test_entropies_in_chunks_are_the_same(language_model):
    packed = sampled(language_model, 1.0).responses.pack(torch.device("cpu"))
    whole = token_logprobs(language_model, packed, 0.7, with_entropy=True)
    language_model.max_logits = 2 * language_model.size.vocab_size
    torch.testing.assert_close(token_logprobs(language_model, packed, 0.7, with_entropy=True), whole)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_an_engine_of_other_weights_is_seen(language_model, critic, temperature):
    scored = sampled(language_model, temperature)
    own = figures(sums_of(judge_rollout(scored, language_model, language_model, critic)))
    assert own["engine_mismatch"] < 1e-5
    language_model.init_weights(torch.Generator().manual_seed(9), std=0.1)
    other = figures(sums_of(judge_rollout(scored, language_model, language_model, critic)))
    assert other["engine_mismatch"] > 0.1
    with pytest.raises(ValueError, match=r"differ by .* nats per token in iteration 4, more than max_mismatch=0\.1"):
        check_mismatch(other["engine_mismatch"], 0.1, 4)


def test_an_engine_that_tells_no_logprobs_has_no_mismatch(language_model, critic):
    scored = replace(sampled(language_model, 1.0), engine_logprobs=[[], [], []])
    assert "engine_mismatch" not in figures(sums_of(judge_rollout(scored, language_model, language_model, critic)))


def test_figures_of_ranks_are_those_of_all_responses(language_model, critic):
    rollout = judge_rollout(sampled(language_model, 1.0), language_model, language_model, critic)
    whole, parts = sums_of(rollout), [sums_of(rollout.select(rows)) for rows in ([0], [1, 2])]
    added = {name: sum(part[name] for part in parts) for name in parts[0]}
    assert figures(added) == pytest.approx(figures(whole), abs=1e-6)
    values, returns = rollout.values[rollout.mask], rollout.returns[rollout.mask]
    explained = 1 - (returns - values).var(correction=0) / returns.var(correction=0)
    assert figures(added)["explained_variance"] == pytest.approx(explained.item(), rel=1e-4)


def test_a_penalty_on_repeats_is_refused():
    with pytest.raises(ValueError, match=r"repetition_penalty=1\.2 must be 1 in PPO"):
        check_sampling(Sampling(repetition_penalty=1.2))
