"""Nodes that failed twice are not asked for again. Nothing is submitted."""

from pathlib import Path

import pytest
from internlm2_conf.failed_nodes import LeavesOutFailedNodes
from internlm2_conf.recipes import Recipes
from internlm2_parallel.health.nodes import note_failure
from omegaconf import OmegaConf

READ = "internlm2_parallel.health.failed_nodes"


@pytest.mark.parametrize(("given", "asked"), [(None, "node7"), ("node1", "node1,node7")])
def test_a_node_that_failed_twice_is_left_out_of_the_next_submission(
    given: str | None, asked: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}, "launcher": {"exclude": given}}})
    OmegaConf.set_readonly(config.hydra, True)  # as Hydra does
    LeavesOutFailedNodes(READ).on_multirun_start(config)
    for restart, node in enumerate(("node7", "node7", "node8")):
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(restart))
        note_failure(tmp_path / "0" / "health", node, "hang")
        if restart == 0:
            LeavesOutFailedNodes(READ).on_multirun_start(config)
            assert config.hydra.launcher.exclude == given and not capsys.readouterr().err
    LeavesOutFailedNodes(READ).on_multirun_start(config)
    assert config.hydra.launcher.exclude == asked
    assert capsys.readouterr().err == f"node7 failed 2 times or more and is left out: exclude={asked}.\n"


def test_torchrun_says_how_many_nodes_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Recipes().compose("pretrain", ["tokens=x"]).trainer.num_nodes == 1
    monkeypatch.setenv("GROUP_WORLD_SIZE", "3")
    assert Recipes().compose("pretrain", ["tokens=x"]).trainer.num_nodes == 3
    assert Recipes().compose("pretrain", ["tokens=x", "trainer.num_nodes=2"]).trainer.num_nodes == 2
