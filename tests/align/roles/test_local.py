"""Roles from folders: either layout of the actor, one vocabulary."""

import json
from types import SimpleNamespace

import pytest
import torch
from internlm2_align.ppo.refusals import check_groups
from internlm2_align.reward.conditions import Conditions
from internlm2_align.reward.network import save_reward, start_reward
from internlm2_align.roles import local_roles
from internlm2_core.checkpoint import load_released, save_llama

SIZES = {"layers": 2, "dim": 32, "num_kv_heads": 2, "q_per_kv": 1, "ffn_dim": 64, "head_dim": 16}


@pytest.fixture
def sft(tmp_path, save_random_model):
    return save_random_model(tmp_path / "sft", max_positions=256, **SIZES)


def reward_of(sft, folder, tokenizer):
    net = start_reward(sft)
    save_reward(folder, net.size, net.state_dict(), tokenizer, Conditions({"maths": {"en": "M"}}))
    return folder


def test_the_actor_may_be_a_llama(tmp_path, sft):
    net = load_released(sft)
    save_llama(tmp_path / "llama", net.size, net.state_dict().items(), sft)
    roles = local_roles(tmp_path / "llama", reward_of(sft, tmp_path / "reward", sft))
    for role in (roles.actor(), roles.reference()):
        for name, weight in net.state_dict().items():
            torch.testing.assert_close(role.state_dict()[name], weight)
    assert roles.reward().size == net.size


def test_a_reward_model_of_another_vocabulary_is_refused(tmp_path, sft):
    vocabulary = json.loads((sft / "tokenizer.json").read_text())
    spelt = vocabulary["model"]["vocab"]
    spelt["a"], spelt["b"] = spelt["b"], spelt["a"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "tokenizer.json").write_text(json.dumps(vocabulary))
    reward = reward_of(sft, tmp_path / "reward", tmp_path / "other")
    with pytest.raises(ValueError, match=r"tokenizer is not that of \S*reward: id \d+"):
        local_roles(sft, reward).reward()


def test_a_reward_model_is_not_an_actor(tmp_path, sft):
    reward = reward_of(sft, tmp_path / "reward", sft)
    with pytest.raises(ValueError, match="holds a reward model, which has no head for words"):
        local_roles(reward, reward).actor()


def test_frozen_models_have_dtypes_of_their_own(tmp_path, sft):
    reward = reward_of(sft, tmp_path / "reward", sft)
    roles = local_roles(sft, reward, reference_dtype="bfloat16", reward_dtype="float64")
    dtypes = [next(make().parameters()).dtype for make in (roles.actor, roles.critic, roles.reference, roles.reward)]
    assert dtypes == [torch.float32, torch.float32, torch.bfloat16, torch.float64]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sample_with": "magic"}, r"^sample_with='magic' must be one of copies, groups, shards\.$"),
        (
            {"sample_with": "groups"},
            r"^group_size=0 must be 2 or more with sample_with=groups, and 0 with any other\.$",
        ),
        ({"group_size": 2}, r"^group_size=2 must be 2 or more with sample_with=groups, and 0 with any other\.$"),
        (
            {"offloaded": ["critic"]},
            r"^offloaded=\['critic'\] must be among the frozen models, reference and reward\.$",
        ),
        ({"copy_dtype": "int8"}, r"^copy_dtype='int8' must be a floating-point dtype"),
        ({"reference_dtype": "bf16"}, r"^reference_dtype='bf16' must be a floating-point dtype"),
        ({"reward_dtype": "nn"}, r"^reward_dtype='nn' must be a floating-point dtype"),
    ],
)
def test_what_a_role_cannot_be_is_refused(changes, said):
    with pytest.raises(ValueError, match=said):
        local_roles("sft", "reward", **changes)


def test_groups_that_cannot_share_copies_are_refused():
    trainer = SimpleNamespace(world_size=4, strategy=SimpleNamespace(shared_copy=print))
    check_groups(trainer, 2)
    with pytest.raises(ValueError, match=r"^group_size=3 must divide the ranks of the run, which are 4\.$"):
        check_groups(trainer, 3)
    trainer.strategy = object()
    check_groups(trainer, 0)
    with pytest.raises(
        ValueError, match=r"^object does not say how ranks share a copy .* group_size=2 must be 0\. Take"
    ):
        check_groups(trainer, 2)
