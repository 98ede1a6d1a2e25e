"""Jobs that other jobs run: composed as they would be typed, and refused before anything runs."""

import sys

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


def test_keys_may_be_inside_of_what_others_choose():
    job = Job("evaluate", {"suite": "reward", "data": "d"}, {"suite": {"llmbar": {"domain": "maths"}}})
    cfg = job.composed(checkpoint="m", output="o")
    assert (cfg.suite.llmbar.domain, cfg.suite.llmbar.path, cfg.job.data) == ("maths", "LLMBar", "d")
    for keys, inside, sentence in (
        ({"suites": "reward"}, {}, r"there is no key 'suites' \(did you mean suite\?\)"),
        ({"suite": "none"}, {}, "suite= may be .*reward"),
        ({}, {"suite": {"needle": {"trails": 2}}}, "there is no key 'suite.needle.trails'"),
    ):
        with pytest.raises(SaidError, match=f"^evaluate: .*{sentence}"):
            Job("evaluate", keys, inside)


def test_several_nodes_are_refused():
    with pytest.raises(ValueError, match="num_nodes=2 of ppo must be 1 inside another job"):
        Job("ppo", GIVEN | {"trainer": {"num_nodes": 2}})


@pytest.fixture
def commands(monkeypatch):
    """The commands that are run, each of which leaves with the code that is given first."""
    run, codes = [], [0]

    class Command:
        def __init__(self, words, env):
            run.append(words)
            self.names = set(env)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def wait(self):
            assert "SLURM_NTASKS" not in self.names
            if isinstance(codes[0], BaseException):
                raise codes[0]
            return codes[0]

        def terminate(self):
            run.append("terminated")

    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setattr("internlm2_conf.later.subprocess.Popen", Command)
    return run, codes


def test_a_job_on_several_ranks_is_a_command_of_its_own(commands):
    run, codes = commands
    job = Job("ppo", GIVEN | {"strategy": "fsdp", "trainer": {"devices": 2}})
    job(output="it's here", snapshots=[1, 2])
    [[program, *words]] = run
    assert (program, words[:3]) == (sys.executable, ["-m", "internlm2_conf", "ppo"])
    cfg = job.recipes.compose("ppo", words[3:])
    assert (cfg.output, cfg.snapshots, cfg.trainer.devices, cfg.layout.shard) == ("it's here", [1, 2], 2, -1)
    codes[0] = 3
    with pytest.raises(SaidError, match=r"^ppo failed with exit code 3\. It has said why\.$"):
        job(output="here")
    codes[0] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        job(output="here")
    assert run[-1] == "terminated"


def test_another_job_inside_is_composed_on_its_own():
    cfg = Job("reward", {"checkpoint": "a", "data": {"added": ["x.jsonl", "x.jsonl"]}}).composed(
        **{"data.added": ["y"]}
    )
    assert cfg.data.added == ["y"]


def test_a_key_below_a_reference_is_set_where_it_leads():
    cfg = Job("reward", {"checkpoint": "a", "module": {"loss": {"gamma": 1.5}, "optimizer": {"lr": 0.5}}}).composed()
    assert cfg.module.loss._target_.endswith("reward_loss") and cfg.loss.gamma == 1.5
    assert cfg.module.optimizer.lr == cfg.optimizer.lr == 0.5 and "betas" in cfg.module.optimizer
