"""Ranks that one of them has started end together, and a job of a sweep ends alone."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from internlm2_parallel import launcher, together
from internlm2_parallel.launcher import RankLauncher
from internlm2_parallel.lightning_private import HookedLauncher
from internlm2_parallel.together import Failure, Watch, failure_of
from lightning.fabric.plugins.environments import LightningEnvironment


def started(*words):
    return subprocess.Popen(words)


@pytest.fixture
def children():
    """One that has failed, and one that waits."""
    failed, waits = started("false"), started("sleep", "60")
    failed.wait()
    yield [failed, waits]
    waits.kill()
    waits.wait()


def test_a_rank_that_waits_for_one_that_failed_ends_with_the_others(children, caplog):
    left = []
    Watch(children, lambda: True, patience_s=0.01, leave=left.append).run()
    assert left == [1] and children[1].returncode in (-signal.SIGTERM, -signal.SIGKILL)
    assert "Rank 1 of this node ended with exit code 1. What it said is above. This rank still waits" in caplog.text


def test_a_rank_of_an_earlier_job_does_not_end_the_sweep(children):
    left = []
    Watch(children, lambda: False, patience_s=0.01, leave=left.append).run()
    stopped = Watch(children, lambda: True, patience_s=0.01, leave=left.append)
    stopped.stopped.set()
    stopped.run()
    assert not left and children[1].poll() is None


def test_a_rank_that_was_preempted_has_not_failed():
    children = [started("sh", "-c", f"exit {code}") for code in (0, 75, 3)]
    for child in children:
        child.wait()
    assert failure_of(children[:2]) is None
    assert failure_of(children) == Failure(3, 3)


@pytest.mark.parametrize(
    ("error", "raised"), [(RuntimeError("Connection closed by peer"), ChildProcessError), (ValueError("x"), ValueError)]
)
def test_a_collective_that_fails_names_the_rank_that_is_gone(error, raised, monkeypatch):
    def fails(self, function, *args, **kwargs):
        self.procs.append(started("sh", "-c", "sleep 0.1; kill -9 $$"))
        raise error

    monkeypatch.setattr(HookedLauncher, "launch", fails)
    said = r"^Rank 1 of this node ended with signal 9\. What it said is above\. \(Connection closed by peer\)$|^x$"
    with pytest.raises(raised, match=said):
        RankLauncher(LightningEnvironment(), 2, 1).launch(lambda: None)


FOLLOWS = """
import importlib.util, os, sys, time
spec = importlib.util.spec_from_file_location("together", sys.argv[1])
together = importlib.util.module_from_spec(spec)
spec.loader.exec_module(together)
together.follow(os.getppid())
print(os.getpid(), flush=True)
time.sleep(60)
"""


def test_where_the_first_rank_was_killed_the_others_leave():
    first = subprocess.Popen(
        ["sh", "-c", '"$@" & wait', "sh", sys.executable, "-c", FOLLOWS, together.__file__],
        stdout=subprocess.PIPE,
    )
    second = int(first.stdout.readline())
    first.kill()
    first.wait()
    end = time.monotonic() + 30
    while alive(second) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(second)


def alive(process):
    status = Path(f"/proc/{process}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_only_ranks_that_were_started_follow(monkeypatch):
    followed = []
    monkeypatch.setattr(launcher, "follow", followed.append)
    monkeypatch.setenv(launcher.FIRST, "7")
    launcher.follow_the_first_rank()
    launcher.follow_the_first_rank()  # as a process would that this rank starts
    assert followed == [7]
