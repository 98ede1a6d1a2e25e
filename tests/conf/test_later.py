"""Jobs that other jobs run: composed as they would be typed, and refused before anything runs."""

import pytest
from hydra import initialize_config_module
from internlm2_conf.errors import SaidError
from internlm2_conf.later import Job

GIVEN = {
    "checkpoint": "a",
    "reward": "b",
    "prompts": "c",
    "heldout": "d",
    "domains": {"sum": "maths", "x y": "format"},
}


@pytest.fixture(autouse=True)
def hydra():
    with initialize_config_module("internlm2_conf", version_base="1.3"):
        yield


def test_keys_are_those_of_the_command():
    nested = {"queries": 64, "actor_optimizer": {"lr": 1e-4}, "settings": {"mini_batches": 2}, "logger": "none"}
    cfg = Job("ppo", GIVEN | nested).composed(output="it's here", snapshots=[1, 2])
    assert (cfg.queries, cfg.actor_optimizer.lr, cfg.settings.mini_batches) == (64, 1e-4, 2)
    assert (cfg.output, cfg.snapshots, cfg.domains) == ("it's here", [1, 2], GIVEN["domains"])
    assert cfg.logger == {} and cfg.callbacks.actors.folder == "it's here"


def test_a_mistyped_key_is_found_at_once():
    said = r"^ppo: there is no key 'querys' \(did you mean queries\?\)\. `internlm2 ppo --cfg job` shows every key"
    with pytest.raises(SaidError, match=said):
        Job("ppo", GIVEN | {"querys": 64})


def test_several_ranks_are_refused():
    with pytest.raises(ValueError, match="devices=2 and num_nodes=1 of ppo must be 1 inside another job"):
        Job("ppo", GIVEN | {"trainer": {"devices": 2}})


def test_another_job_inside_is_composed_on_its_own():
    cfg = Job("reward", {"checkpoint": "a", "data": {"added": ["x.jsonl", "x.jsonl"]}}).composed(
        **{"data.added": ["y"]}
    )
    assert cfg.data.added == ["y"]


def test_a_key_below_a_reference_is_set_where_it_leads():
    cfg = Job("reward", {"checkpoint": "a", "module": {"loss": {"gamma": 1.5}, "optimizer": {"lr": 0.5}}}).composed()
    assert cfg.module.loss._target_.endswith("reward_loss") and cfg.loss.gamma == 1.5
    assert cfg.module.optimizer.lr == cfg.optimizer.lr == 0.5 and "betas" in cfg.module.optimizer
