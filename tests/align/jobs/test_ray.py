"""PPO with frozen models and engines in Ray actors: as in one process, and when one of them dies."""

import os
from functools import partial

import pytest
import torch
from internlm2_align import PPOSystem
from internlm2_align.roles import local_roles
from internlm2_align.roles.on_ray import RayEngines, ray_roles, shards
from internlm2_align.roles.remote import LostRoleError, RemoteNetwork, Resources
from internlm2_core.checkpoint import load_released
from internlm2_core.generation import LocalEngine, Sampling

from tests.align.jobs import fake_ray

THIN = {"num_cpus": 0.1, "restarts": 0}


@pytest.fixture(scope="module")
def cluster():
    """A small one on this machine."""
    ray = pytest.importorskip("ray", reason="needs the extra [ray] of internlm2-align")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    sizes = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
    try:
        ray.init(**sizes, include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    except Exception as error:  # Ray raises bare ones, for one on a machine that is too busy
        pytest.skip(f"Ray does not start here: {error}")
    yield ray
    ray.shutdown()


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.slow)])
def ray(request, monkeypatch):
    """The logic of roles is tested against a fake of Ray's boundary too, since Ray does not start everywhere."""
    return fake_ray.install(monkeypatch) if request.param == "fake" else request.getfixturevalue("cluster")


def test_ppo_on_ray_is_ppo_in_one_process(ray, tmp_path, sft, reward_folder, run_ppo):
    reward = str(reward_folder / "model")
    alone = run_ppo(sft, reward, str(tmp_path / "alone"), roles=local_roles, judge=False)
    roles = partial(ray_roles, resources={"reference": THIN, "reward": THIN})
    engines = RayEngines(shard_bytes=20_000, resources=THIN)
    there = run_ppo(sft, reward, str(tmp_path / "ray"), roles=roles, engine=engines, judge=False)
    assert len(there["history"]) == len(alone["history"])
    for ours, expected in zip(there["history"], alone["history"], strict=True):
        assert ours == pytest.approx(expected, abs=1e-5)
    last = [load_released(tmp_path / name / "last").state_dict() for name in ("alone", "ray")]
    for name, weight in last[0].items():
        torch.testing.assert_close(weight, last[1][name], atol=1e-5, rtol=1e-4)
    assert not torch.equal(last[0]["output.weight"], load_released(sft).state_dict()["output.weight"])
    # Where they are is written down, they are not.
    system = PPOSystem.load_from_checkpoint(tmp_path / "ray" / "checkpoints" / "last.ckpt")
    assert isinstance(system.reference, RemoteNetwork) and not [*system.reference.parameters()]


def test_a_role_that_dies_ends_in_its_name_or_is_started_again(ray, sft):
    net = load_released(sft)
    ids = torch.arange(20, 30)[None]
    expected = net(ids)
    for restarts in (0, 1):
        role = RemoteNetwork("reference", partial(load_released, sft), Resources(0.1, restarts=restarts))
        torch.testing.assert_close(role(ids), expected)
        ray.kill(role.role.handle)
        if restarts:
            torch.testing.assert_close(role(ids), expected)
            ray.kill(role.role.handle)
        with pytest.raises(LostRoleError, match=rf"the role reference has ended, and restarts={restarts} are used up"):
            role(ids)


def test_an_engine_that_dies_gets_the_present_weights_again(ray, sft):
    prompts = [[20 + n, 30, 40] for n in range(5)]
    sampling = Sampling(max_new_tokens=4, temperature=0)
    engines = RayEngines(count=2, shard_bytes=20_000, resources={**THIN, "restarts": 1})
    net = load_released(sft)
    assert len([*shards(net, 20_000)]) > 2
    for scale in (1.0, -1.0):
        with torch.no_grad():
            net.output.weight.mul_(scale)
        expected = [each.ids for each in LocalEngine(net).generate(prompts, sampling)]
        assert [each.ids for each in engines(net).generate(prompts, sampling)] == expected
    ray.kill(engines.roles[1].handle)
    assert [each.ids for each in engines.generate(prompts, sampling)] == expected


def test_what_ray_roles_refuse(sft):
    with pytest.raises(ValueError, match=r"resources=\['actor'\] must be among the roles on Ray, reference and reward"):
        ray_roles(sft, sft, {"actor": THIN})
    with pytest.raises(ValueError, match=r"offloaded=\['reward'\] must be empty"):
        ray_roles(sft, sft, offloaded=["reward"])
    with pytest.raises(ValueError, match="count=0 and shard_bytes"):
        RayEngines(count=0)
