"""Slurm's jobs on a cluster without accounts: stand-ins for its commands, nothing runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

submitit = pytest.importorskip("submitit.slurm.slurm")
from internlm2_conf.queue_states import GONE, QueueWatcher, StatesOfJobs  # noqa: E402

Commands = Callable[..., None]


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    """Writes commands of Slurm. No others are found."""
    monkeypatch.setenv("PATH", f"{tmp_path}")
    monkeypatch.setattr(submitit.SlurmJob, "watcher", submitit.SlurmInfoWatcher(delay_s=60))

    def write(**scripts: str) -> None:
        for name, body in scripts.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
            (tmp_path / name).chmod(0o755)

    return write


def start() -> None:
    StatesOfJobs().on_multirun_start(OmegaConf.create())


@pytest.mark.parametrize(
    ("sacct", "reason"),
    [
        (None, "there is none"),
        ("echo Slurm accounting storage is disabled >&2; exit 1", "Slurm accounting storage is disabled"),
        ("exit 3", "exit code 3"),
    ],
)
def test_without_sacct_states_are_read_from_the_queue(
    commands: Commands, sacct: str | None, reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states = "77_0|RUNNING|node3\\n77_1|CANCELLED|\\n77_[3-4%%1]|PENDING|\\n5|RUNNING|node1\\n"
    commands(squeue=f"echo $* > {tmp_path}/asked; printf '{states}'", **({"sacct": sacct} if sacct else {}))
    start()
    assert capsys.readouterr().err == f"sacct does not answer ({reason}), so states of jobs are read from squeue.\n"
    jobs = [submitit.SlurmJob(tmp_path, f"77_{task}") for task in range(5)]
    assert [job.state for job in jobs] == ["RUNNING", "CANCELLED", GONE, "PENDING", "PENDING"]
    assert [job.done() for job in jobs] == [False, True, True, False, False]
    assert "--me --states=all" in (tmp_path / "asked").read_text()


def test_an_empty_queue_has_ended_all_jobs_and_no_answer_none(commands: Commands, tmp_path: Path) -> None:
    commands(squeue="exit 1")  # the controller is being restarted
    start()
    job = submitit.SlurmJob(tmp_path, "77")
    assert (job.state, job.done()) == ("UNKNOWN", False)
    commands(squeue="exit 0")
    job.watcher.update()
    assert (job.done(), job.state) == (True, GONE)


def test_with_sacct_nothing_is_said_or_changed(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    commands(sacct="exit 0")
    start()
    assert not isinstance(submitit.SlurmJob.watcher, QueueWatcher)
    assert capsys.readouterr().err == ""
