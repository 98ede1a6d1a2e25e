"""How ranks are started: from a command, inside Slurm, on a port, and that they end with the first one."""

import os
import socket
import subprocess
import time

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from internlm2_parallel import MeshStrategy
from internlm2_parallel.launcher import RankLauncher, quoted
from internlm2_parallel.lightning_private import HookedLauncher
from internlm2_parallel.testing import TinyLM, quiet_trainer, run_ranks
from lightning.fabric.plugins.environments import LightningEnvironment
from omegaconf import OmegaConf


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_where_the_first_rank_fails_alone_the_others_are_gone_in_seconds(error, monkeypatch):
    launcher = RankLauncher(LightningEnvironment(), 3, 1)
    stubborn = "trap '' TERM; echo ready; while true; do sleep 0.1; done"

    def fails(self, function, *args, **kwargs):
        self.procs.append(subprocess.Popen(["sleep", "60"]))
        self.procs.append(subprocess.Popen(["sh", "-c", stubborn], stdout=subprocess.PIPE))
        self.procs[1].stdout.readline()
        raise error("only here")

    monkeypatch.setattr(HookedLauncher, "launch", fails)
    start = time.monotonic()
    with pytest.raises(error):
        launcher.launch(lambda: None)
    assert [child.returncode for child in launcher.procs] == [-15, -9]
    assert time.monotonic() - start < 10


def test_ranks_that_leave_together_are_left_alone(monkeypatch):
    launcher = RankLauncher(LightningEnvironment(), 2, 1)

    def leaves(self, function, *args, **kwargs):
        self.procs.append(subprocess.Popen(["sleep", "60"]))
        raise SystemExit(75)

    monkeypatch.setattr(HookedLauncher, "launch", leaves)
    with pytest.raises(SystemExit):
        launcher.launch(lambda: None)
    child = launcher.procs[0]
    assert child.poll() is None
    child.kill()
    child.wait()


def as_slurm_task(monkeypatch, tasks):
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    slurm = {"JOB_ID": "7", "JOB_NAME": "a", "NTASKS": tasks, "PROCID": 0, "LOCALID": 0, "NODEID": 0}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", str(tasks))


def test_one_task_of_slurm_starts_its_ranks_itself(monkeypatch):
    as_slurm_task(monkeypatch, 1)
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")  # as sbatch -n1 leaves it
    strategy = quiet_trainer(MeshStrategy.ddp(), devices=2).strategy
    assert isinstance(strategy.launcher, RankLauncher)
    assert not strategy.cluster_environment.creates_processes_externally


def test_another_number_of_tasks_is_refused_before_any_rank_waits(monkeypatch):
    as_slurm_task(monkeypatch, 3)
    with pytest.raises(
        ValueError, match=r"devices=2 on num_nodes=1 need .* SLURM_NTASKS=3\. Submit with --ntasks-per-"
    ):
        quiet_trainer(MeshStrategy.ddp(), devices=2)
    as_slurm_task(monkeypatch, 2)
    assert quiet_trainer(MeshStrategy.ddp(), devices=2).strategy.launcher is None


def test_a_taken_port_is_one_sentence():
    def rank():
        with socket.create_server(("", 0)) as taken:
            os.environ["MASTER_PORT"] = str(taken.getsockname()[1])
            with pytest.raises(OSError, match=rf"^MASTER_PORT={os.environ['MASTER_PORT']} is taken by another program"):
                quiet_trainer(MeshStrategy.ddp(), devices=1).fit(TinyLM())

    run_ranks(rank, 1, join=False)


@pytest.mark.parametrize("path", ["a#b", "中文#1", "x${y", "a b'c", "back\\slash", "it's\\'so", "$HOME"])
def test_ranks_are_told_any_folder(path):
    override = OverridesParser.create().parse_override(f"hydra.run.dir={quoted(path)}")
    cfg = OmegaConf.create({"path": override.value()})
    assert OmegaConf.to_container(cfg, resolve=True) == {"path": path}
