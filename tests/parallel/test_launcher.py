"""Ranks that the first one has started end with it."""

import subprocess
import time

import pytest
from internlm2_parallel.launcher import RankLauncher
from internlm2_parallel.lightning_private import HookedLauncher
from lightning.fabric.plugins.environments import LightningEnvironment


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
