"""A network that is trained in a process of its own, against the same network trained here. Ray's boundary is faked."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from internlm2_align.ppo.responses import Responses, token_logprobs, token_values
from internlm2_align.reward.network import from_language_model
from internlm2_align.roles.on_ray import RayEngines
from internlm2_align.roles.remote import Resources
from internlm2_align.roles.stand_ins import EngineThere, RemoteTrained, make_optimizer
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.optim import decay_groups
from internlm2_core.training.finite import first_not_finite
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from tests.align.jobs import fake_ray

ADAMW = partial(torch.optim.AdamW, lr=1e-2, betas=(0.9, 0.95))
ROWS = [Responses([[5, 6, 7]], [[8, 9]]), Responses([[30], [40, 41]], [[31, 32, 33], [42]])]


@pytest.fixture
def critic(language_model):
    return from_language_model(language_model, torch.Generator().manual_seed(5))


@pytest.fixture
def there(monkeypatch, critic):
    """Makes what stands for the same critic, in parts of a few matrices."""
    fake_ray.install(monkeypatch)
    return lambda: RemoteTrained("critic", partial(deepcopy, critic), Resources(), shard_bytes=20_000)


def gradients_of(net):
    """Backward passes over micro-batches. Returns the values."""
    found = []
    for rows in ROWS:
        values = token_values(net, rows.pack(torch.device("cpu")))
        (values - 3).square().sum().backward()
        found.append(values.detach())
    return torch.cat(found)


def trained(net, optimizer, clip, steps=3):
    """Values and norms of some steps under a schedule."""
    schedule, found = LambdaLR(optimizer, lambda step: 0.5**step), []
    for _ in range(steps):
        optimizer.zero_grad()
        values = gradients_of(net)
        found += [*values.tolist(), float(clip())]
        optimizer.step()
        schedule.step()
    return found


def both(critic, there, steps=3):
    """Train here and there. Returns networks and optimizers."""
    here, away = deepcopy(critic), there()
    optimizers = [ADAMW(decay_groups(here, 0.1)), make_optimizer(away, ADAMW, 0.1)]
    clips = (lambda: nn.utils.clip_grad_norm_(here.parameters(), 0.5), lambda: optimizers[1].clip_by_norm(0.5))
    first, second = (trained(n, o, c, steps) for n, o, c in zip((here, away), optimizers, clips, strict=True))
    assert second == pytest.approx(first, rel=1e-6, abs=1e-5)
    assert first[:6] != pytest.approx(first[-7:-1], abs=0.1)  # it has learnt
    return here, away, optimizers


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, atol=1e-6, rtol=1e-5)


def test_steps_are_those_of_a_network_in_this_process(critic, there):
    here, away, optimizers = both(critic, there)
    assert_same(away.state_dict(), here.state_dict())
    first, second = (optimizer.state_dict() for optimizer in optimizers)
    assert second["param_groups"] == first["param_groups"] and second["param_groups"][0]["lr"] == 1e-2 / 8
    assert list(second["state"]) == list(first["state"])
    for number, moments in first["state"].items():
        assert_same(second["state"][number], moments)


def test_each_continues_what_the_other_has_saved(critic, there):
    here, away, optimizers = both(critic, there)
    state, moments = deepcopy(here.state_dict()), deepcopy(optimizers[0].state_dict())
    continued = there()
    own = make_optimizer(continued, ADAMW, 0.1)
    assert continued.load_state_dict(state).unexpected_keys == []
    own.load_state_dict(moments)
    assert [group["lr"] for group in own.param_groups] == [1e-2 / 8] * 2
    cut = [{**group, "params": group["params"][:1]} for group in moments["param_groups"]]
    with pytest.raises(ValueError, match="doesn't match the size"):
        own.load_state_dict({"state": {}, "param_groups": cut})
    here.load_state_dict(away.state_dict())
    optimizers[0].load_state_dict(optimizers[1].state_dict())
    for net, optimizer in ((here, optimizers[0]), (continued, own)):
        optimizer.zero_grad()
        gradients_of(net)
        optimizer.step()
    assert_same(continued.state_dict(), here.state_dict())
    assert continued.load_state_dict({**state, "surplus": torch.ones(1)}, strict=False).unexpected_keys == ["surplus"]


@pytest.mark.parametrize("half", ["autocast", "weights"])
def test_precision_goes_along(critic, there, half):
    dtype = torch.bfloat16 if half == "weights" else torch.float32
    here, whole = deepcopy(critic).to(dtype), token_values(critic, ROWS[0].pack(torch.device("cpu")))
    before = torch.get_default_dtype()
    try:
        torch.set_default_dtype(dtype)
        away = RemoteTrained("critic", lambda: deepcopy(critic).to(torch.get_default_dtype()), Resources())
    finally:
        torch.set_default_dtype(before)
    with torch.autocast("cpu", torch.bfloat16, enabled=half == "autocast"):
        expected, found = gradients_of(here), gradients_of(away)
    assert torch.equal(found, expected) and not torch.allclose(expected[:2], whole, atol=1e-4)
    assert {weight.dtype for weight in away.state_dict().values()} == {dtype}


def test_without_gradients_no_graph_is_kept_and_modes_go_along(critic, there):
    away = there()
    with torch.no_grad():
        values = token_values(away.eval(), ROWS[0].pack(torch.device("cpu")))
    process = away.role.handle.object.object
    assert not values.requires_grad and process.answer == (0, []) and not process.net.training
    away.train().weights.requires_grad_(False)  # as while another optimizer steps
    assert not token_values(away, ROWS[0].pack(torch.device("cpu"))).requires_grad and process.net.training
    assert process.answer == (0, [])


def test_only_the_last_graph_is_kept(there):
    away = there()
    first, _ = (token_values(away, rows.pack(torch.device("cpu"))).sum() for rows in ROWS)
    with pytest.raises(AssertionError, match="the graph of pass 1 is not kept, that of pass 2 is"):
        first.backward()


def test_what_is_not_finite_there_is_seen_here(there):
    away = there()
    optimizer = make_optimizer(away, ADAMW, 0.0)
    (token_values(away, ROWS[0].pack(torch.device("cpu"))).sum() * torch.nan).backward()
    assert optimizer.clip_by_norm(1.0).isnan()
    optimizer.zero_grad()
    gradients_of(away)
    assert first_not_finite(away.named_parameters()) is None
    optimizer.param_groups[0]["lr"] = torch.inf
    optimizer.step()
    assert first_not_finite(away.named_parameters()) == "weights"


def test_an_actor_there_learns_and_replies(monkeypatch, language_model):
    """Its losses are of several tensors, not all of which have a graph. Its weights go to engines past the run."""
    fake_ray.install(monkeypatch)
    away = RemoteTrained("actor", partial(deepcopy, language_model), Resources())
    assert away.size == language_model.size
    here, optimizer = language_model.train(), make_optimizer(away, ADAMW, 0.0)
    for net in (here, away):
        packed = ROWS[1].pack(torch.device("cpu"))
        logprobs, entropies = token_logprobs(net, packed, with_entropy=True)
        (logprobs.sum() + 0.1 * entropies.sum()).backward()
        losses = net(packed.input_ids, packed.position_ids, labels_BT=packed.input_ids)
        (losses.cross_entropy + 0 * losses.z_squared).backward()
    assert float(optimizer.clip_by_norm(0)) == pytest.approx(float(nn.utils.clip_grad_norm_(here.parameters(), 1e9)))
    optimizer.step()
    ADAMW(decay_groups(here, 0.0)).step()
    prompts, sampling = [[5, 6], [7, 8, 9]], Sampling(max_new_tokens=5, temperature=0)
    expected = LocalEngine(here).generate(prompts, sampling)
    monkeypatch.setattr(RemoteTrained, "state", None)
    for engine in (EngineThere(LocalEngine, away), RayEngines(count=2, shard_bytes=20_000)(away)):
        found = engine.generate(prompts, sampling)
        assert [each.ids for each in found] == [each.ids for each in expected]
        assert found[1].logprobs == pytest.approx(expected[1].logprobs, abs=1e-5)
