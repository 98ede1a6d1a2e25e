"""PPO with models and engines in Ray actors: as in one process, and when one of them dies."""

import os
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from internlm2_align import PPOSystem
from internlm2_align.ppo.refusals import check_apart
from internlm2_align.roles.on_ray import RayEngines, ray_roles
from internlm2_align.roles.remote import LostRoleError, RemoteNetwork, Resources
from internlm2_align.roles.shards import shards
from internlm2_align.roles.stand_ins import RemoteOptimizer, RemoteTrained
from internlm2_core.checkpoint import load_released
from internlm2_core.generation import LocalEngine, Sampling
from internlm2_core.training.reading import read_checkpoint

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


@pytest.fixture
def fake(monkeypatch):
    return fake_ray.install(monkeypatch)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.slow)])
def ray(request):
    """The logic of roles is tested against a fake of Ray's boundary too, since Ray does not start everywhere."""
    return request.getfixturevalue("fake" if request.param == "fake" else "cluster")


def on_ray(*trained):
    """Roles of which some trained ones are in processes of their own, beside the frozen ones."""
    return partial(ray_roles, resources=dict.fromkeys(("reference", "reward", *trained), THIN))


def assert_same_run(there, alone, folder, other) -> None:
    """Figures, and the last checkpoints: weights and moments of what is trained."""
    assert len(there["history"]) == len(alone["history"])
    for ours, expected in zip(there["history"], alone["history"], strict=True):
        assert ours == pytest.approx(expected, abs=1e-5)
    found, expected = (read_checkpoint(each / "checkpoints" / "last.ckpt") for each in (folder, other))
    for key in ("state_dict", "optimizer_states"):
        torch.testing.assert_close(found[key], expected[key], atol=1e-5, rtol=1e-4)


def test_ppo_on_ray_is_ppo_in_one_process(ray, tmp_path, sft, reward_folder, run_ppo):
    """With all four models and the engine in processes of their own."""
    run = partial(run_ppo, sft, str(reward_folder / "model"), judge=False)
    alone = run(str(tmp_path / "alone"))
    engines = RayEngines(shard_bytes=20_000, resources=THIN)
    there = run(str(tmp_path / "ray"), roles=on_ray("actor", "critic"), engine=engines)
    assert_same_run(there, alone, tmp_path / "ray", tmp_path / "alone")
    last = [load_released(tmp_path / name / "last").state_dict() for name in ("alone", "ray")]
    torch.testing.assert_close(last[1], last[0], atol=1e-5, rtol=1e-4)
    assert not torch.equal(last[0]["output.weight"], load_released(sft).state_dict()["output.weight"])


def test_a_critic_that_dies_ends_the_run_which_resumes(fake, tmp_path, sft, reward_folder, run_ppo, monkeypatch):
    """With the actor in this process. It was tried on a real Ray too, where it takes minutes."""
    run = partial(run_ppo, sft, str(reward_folder / "model"), judge=False)
    steps, step = [], RemoteOptimizer.step

    def dying(self, closure=None):
        steps.append(self)
        if len(steps) == 3:
            fake.kill(self.net.role.handle)
        return step(self, closure)

    monkeypatch.setattr(RemoteOptimizer, "step", dying)
    with pytest.raises(LostRoleError, match="the role critic has ended"):
        run(str(tmp_path / "there"), roles=on_ray("critic"))
    there = run(str(tmp_path / "there"), roles=on_ray("critic"))
    assert len(steps) == 3 + 2  # from the checkpoint after two iterations
    assert_same_run(there, run(str(tmp_path / "alone")), tmp_path / "there", tmp_path / "alone")
    # Where they are is written down, they are not.
    system = PPOSystem.load_from_checkpoint(tmp_path / "there" / "checkpoints" / "last.ckpt")
    assert isinstance(system.reference, RemoteNetwork) and not [*system.reference.parameters()]
    assert isinstance(system.critic, RemoteTrained)


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
    assert len([*shards(net.named_parameters(), 20_000)]) > 2
    for scale in (1.0, -1.0):
        with torch.no_grad():
            net.output.weight.mul_(scale)
        expected = [each.ids for each in LocalEngine(net).generate(prompts, sampling)]
        assert [each.ids for each in engines(net).generate(prompts, sampling)] == expected
    ray.kill(engines.roles[1].handle)
    assert [each.ids for each in engines.generate(prompts, sampling)] == expected


def test_what_ray_roles_refuse(sft):
    with pytest.raises(
        ValueError, match=r"resources=\['judge'\] must be among the roles on Ray: reference, reward, act"
    ):
        ray_roles(sft, sft, {"judge": THIN})
    with pytest.raises(ValueError, match=r"restarts=2 of critic must be 0: its steps since the last checkpoint end"):
        ray_roles(sft, sft, {"critic": {**THIN, "restarts": 2}})
    ranks = SimpleNamespace(world_size=2, strategy=SimpleNamespace())
    with pytest.raises(ValueError, match=r"each of which would train actor and critic in a process of its own"):
        check_apart(ranks, ("actor", "critic"))
    half = SimpleNamespace(
        world_size=1, strategy=None, precision="16-mixed", precision_plugin=SimpleNamespace(scaler=1)
    )
    with pytest.raises(ValueError, match=r"precision=16-mixed scales losses, which critic in a process of its own"):
        check_apart(half, ("critic",))
    check_apart(ranks, ())
    with pytest.raises(ValueError, match=r"offloaded=\['reward'\] must be empty"):
        ray_roles(sft, sft, offloaded=["reward"])
    with pytest.raises(ValueError, match="count=0 and shard_bytes"):
        RayEngines(count=0)
