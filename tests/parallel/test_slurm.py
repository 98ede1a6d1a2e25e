"""A real Slurm pre-empts and requeues `internlm2 pretrain`, and the run ends as an undisturbed one.

One node, as root, without system services: munged, slurmctld and slurmd run in a temporary folder for the time of the
tests. Without Debian's slurm-wlm the tests are skipped.
"""

import csv
import os
import random
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from internlm2_parallel.health.preemption import requeue
from safetensors.torch import load_file

# The package passes its tests alone; these need the command and the packages that it calls.
pytest.importorskip("internlm2_conf")
TokenWriter = pytest.importorskip("internlm2_data.tokens").TokenWriter
SPECIAL_TOKENS = pytest.importorskip("internlm2_core.text.tokenizer").SPECIAL_TOKENS
pytest.importorskip("hydra_plugins.hydra_submitit_launcher")

pytestmark = pytest.mark.slow

PROGRAMS = ("munged", "slurmctld", "slurmd", "slurmstepd", "sbatch", "srun", "scontrol", "scancel", "sinfo", "squeue")
STEPS, FIRST_SAVED = 200, 50
DEADLINE_S = 180

# cred_expire is also how long a requeued job waits (120 s if it is left out). No cgroups: they need a machine of one's
# own. CPUs are declared, not counted: conf/hydra/launcher/slurm.yaml asks for four a task.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldSyslogDebug=quiet
SlurmdSyslogDebug=quiet
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmdParameters=config_overrides
FirstJobId={ports[2]}
NodeName=localhost NodeHostname={host} NodeAddr=127.0.0.1 CPUs=8
PartitionName=main Nodes=ALL Default=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF
"""


@dataclass(frozen=True)
class Slurm:
    """A running cluster of one node.

    Attributes:
        folder: its configuration, state and logs.
        environment: of everything that talks to it.
    """

    folder: Path
    environment: dict[str, str]

    def ask(self, *words: str) -> str:
        """The output of one of Slurm's commands."""
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def job(self, job: str) -> dict[str, str]:
        """What Slurm knows of a job."""
        return dict(re.findall(r"(\w+)=(\S*)", self.ask("scontrol", "show", "job", job)))


def wait_until(found: Callable[[], bool], what: Callable[[], str], seconds: float = DEADLINE_S) -> None:
    """Look every tenth of a second; fail with what there is instead."""
    end = time.monotonic() + seconds
    while not found():
        if time.monotonic() > end:
            pytest.fail(f"not within {seconds:.0f} s: {what()}")
        time.sleep(0.1)


def text_of(log: Path) -> str:
    return log.read_text(errors="replace") if log.is_file() else "there is no log"


def last_line(log: Path) -> str:
    return next((line for line in reversed(text_of(log).splitlines()) if line.strip()), "its log is empty")


def answers(words: list[str], environment: dict[str, str], pattern: str) -> bool:
    try:
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and re.search(pattern, done.stdout) is not None


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def write_configuration(folder: Path) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    # The third number is no port but the first job: Lightning makes the ranks' port from a job's number.
    text = CONFIGURATION.format(folder=folder, host=host, ports=free_ports(3))
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))


def start(folder: Path, environment: dict[str, str], running: list[subprocess.Popen[bytes]]) -> None:
    """Start the daemons one after the other; skip with the reason when one does not come up."""
    munge = {name: f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")}
    daemons: list[tuple[list[str], Callable[[], bool]]] = [
        # --force: the folder is closed to other users, which munged thinks a mistake.
        (
            ["munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *munge.values()],
            (folder / "munge.socket").is_socket,
        ),
        (["slurmctld", "-D"], lambda: answers(["scontrol", "ping"], environment, r"is UP")),
        (
            ["slurmd", "-D", "-N", "localhost", "-d", str(shutil.which("slurmstepd"))],
            lambda: answers(["sinfo", "--noheader", "--format=%T"], environment, r"^idle$"),
        ),
    ]
    for words, is_up in daemons:
        log = folder / f"{words[0]}.log"
        with log.open("wb") as file:
            running.append(subprocess.Popen(words, env=environment, stdout=file, stderr=subprocess.STDOUT))
        end = time.monotonic() + 30
        while not is_up():
            if running[-1].poll() is not None or time.monotonic() > end:
                pytest.skip(f"Slurm's {words[0]} does not come up here: {last_line(log)}")
            time.sleep(0.1)


def stop(running: list[subprocess.Popen[bytes]]) -> None:
    """End exactly these processes, the last one first."""
    for process in reversed(running):
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def cancel_jobs(cluster: Slurm) -> None:
    """Leave no job's processes behind."""
    for job in cluster.ask("squeue", "--noheader", "--format=%A").split():
        # What fails here may be that a job comes back.
        cluster.ask("scontrol", "update", f"job={job}", "requeue=0")
        cluster.ask("scancel", job)
    wait_until(lambda: not cluster.ask("squeue", "--noheader"), lambda: cluster.ask("squeue"))


@pytest.fixture(scope="module")
def slurm() -> Iterator[Slurm]:
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {missing[0]} here: apt-get install slurm-wlm")
    if os.geteuid() != 0:
        pytest.skip("slurmd starts jobs only as root")
    # Not pytest's folder: the path of a socket must be short.
    with tempfile.TemporaryDirectory(prefix="slurm-") as name:
        folder = Path(name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
        environment |= {"SLURM_CONF": f"{folder}/slurm.conf", "OMP_NUM_THREADS": "1"}
        running: list[subprocess.Popen[bytes]] = []
        write_configuration(folder)
        try:
            start(folder, environment, running)
            cluster = Slurm(folder, environment)
            yield cluster
            cancel_jobs(cluster)
        finally:
            stop(running)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("data")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    tokenizer.save(str(folder / "tokenizer.json"))
    draw = random.Random(0)
    with TokenWriter(folder / "tokens" / "all", 280) as writer:
        for _ in range(1000):
            writer.add([draw.randrange(250) for _ in range(draw.randrange(5, 60))])
    return folder


def command(data: Path, output: Path, *overrides: str) -> list[str]:
    """Two ranks, as a user types it."""
    sizes = {"vocab_size": 288, "layers": 2, "dim": 32, "head_dim": 8, "num_kv_heads": 4, "ffn_dim": 64}
    phase = {"context": 64, "short_context": 64, "batch_rows": 8, "steps": STEPS, "warmup_steps": 2}
    return [
        *(sys.executable, "-m", "internlm2_conf", "pretrain", "strategy=ddp", "trainer.devices=2", "callbacks=cluster"),
        *(f"tokens={data}/tokens", f"tokenizer.path={data}/tokenizer.json", f"output={output}"),
        *(f"model.size.{name}={value}" for name, value in sizes.items()),
        *(f"phase.{name}={value}" for name, value in phase.items()),
        *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1", f"checkpoint_every={FIRST_SAVED}", *overrides),
    ]


@pytest.fixture(scope="module")
def undisturbed(slurm: Slurm, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run without Slurm, its two ranks started by the command itself. Asks for Slurm to be skipped with it."""
    output = tmp_path_factory.mktemp("undisturbed")
    words = command(data, output)
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return output


def wait_for_checkpoint(cluster: Slurm, output: Path, job: str, log: Path) -> None:
    checkpoints = output / "checkpoints"
    wait_until(lambda: any(checkpoints.glob("step-*")), lambda: f"a checkpoint; {cluster.job(job)}; {text_of(log)}")


def wait_for_end(cluster: Slurm, job: str, log: Path) -> None:
    ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
    wait_until(lambda: cluster.job(job)["JobState"] in ended, lambda: f"{cluster.job(job)}; {text_of(log)}")


def assert_stopped_once_and_ended_alike(log: str, signal: str, output: Path, undisturbed: Path) -> None:
    """Both ranks stopped after the same step in the middle, and what the run ends with is what it would have been."""
    stops = re.findall(r"Stopped after step (\d+) \((\w+)\), state saved", log)
    assert [by for _, by in stops] == [signal] * 2 and len({step for step, _ in stops}) == 1, log
    assert FIRST_SAVED <= int(stops[0][0]) < STEPS
    weights, expected = (load_file(folder / "model" / "model.safetensors") for folder in (output, undisturbed))
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert logged_losses(output) == logged_losses(undisturbed)


def logged_losses(output: Path) -> list[tuple[str, str]]:
    with (output / "logs" / "csv" / "metrics.csv").open() as file:
        return [(row["step"], row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


def test_a_requeue_that_slurm_refuses_is_a_warning(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SLURM_CONF", slurm.environment["SLURM_CONF"])
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert not requeue()
    assert "Job 1 is not requeued" in caplog.text and "Invalid job id" in caplog.text


ASKS_TO_BE_REQUEUED = """
import signal, sys, time
from pathlib import Path
from internlm2_parallel.health.preemption import requeue

asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
Path(sys.argv[1]).touch()
while not asked:
    time.sleep(0.05)
requeue()
"""


def test_a_cancelled_job_is_not_requeued(slurm: Slurm, tmp_path: Path) -> None:
    script, ready, log = tmp_path / "script.py", tmp_path / "ready", tmp_path / "log.txt"
    script.write_text(ASKS_TO_BE_REQUEUED)
    # Not under srun, which kills its tasks as soon as it is cancelled itself: here there is time to ask.
    job = slurm.ask("sbatch", "--parsable", f"--output={log}", f"--wrap=exec {sys.executable} {script} {ready}").strip()
    wait_until(ready.exists, lambda: text_of(log))
    slurm.ask("scancel", job)
    wait_for_end(slurm, job, log)
    assert f"Job {job} is not requeued: Slurm is ending it" in log.read_text()
    state = slurm.job(job)
    assert (state["JobState"], state["Restarts"]) == ("CANCELLED", "0")


def test_a_submitted_run_that_gets_a_signal_is_requeued_and_goes_on(
    slurm: Slurm, data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output, log = tmp_path / "run" / "0", tmp_path / "launcher.log"
    words = command(data, tmp_path / "run", "hydra/launcher=slurm", "hydra.launcher.partition=main")
    with log.open("wb") as file:
        launcher = subprocess.Popen(words, env=slurm.environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        submissions = tmp_path / "run" / ".submitit"
        wait_until(lambda: any(submissions.glob("[0-9]*/*_submitted.pkl")), lambda: text_of(log))
        [folder] = submissions.glob("[0-9]*")
        job, ranks = folder.name, [folder / f"{folder.name}_{rank}_log.out" for rank in range(2)]
        wait_for_checkpoint(slurm, output, job, log)
        slurm.ask("scancel", "--signal=USR1", job)
        wait_for_end(slurm, job, ranks[0])
        assert launcher.wait(timeout=DEADLINE_S) == 0, log.read_text()
    finally:
        launcher.kill()
        launcher.wait()
    state = slurm.job(job)
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1")
    assert_stopped_once_and_ended_alike("".join(rank.read_text() for rank in ranks), "SIGUSR1", output, undisturbed)


def test_a_run_gives_way_to_a_more_urgent_job_and_goes_on_after_it(
    slurm: Slurm, data: Path, undisturbed: Path, tmp_path: Path
) -> None:
    output, log = tmp_path / "run", tmp_path / "log.txt"
    script = tmp_path / "job.sh"
    # Checkpoints written in the background: what is not on disk when the job is requeued is lost.
    words = command(data, output, "strategy.checkpoints.asynchronous=true")
    script.write_text(f"#!/bin/bash\nsrun {' '.join(words)}\n")
    asked = ["--parsable", "--partition=main", "--ntasks-per-node=2", f"--output={log}", "--open-mode=append"]
    job = slurm.ask("sbatch", *asked, str(script)).strip()
    wait_for_checkpoint(slurm, output, job, log)
    # Slurm asks the run with SIGTERM to go, and would kill it after the GraceTime of its partition.
    urgent = slurm.ask(
        *("sbatch", "--parsable", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wrap=true")
    ).strip()
    wait_for_end(slurm, job, log)
    state = slurm.job(job)
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1"), log.read_text()
    assert slurm.job(urgent)["JobState"] == "COMPLETED"
    assert slurm.job(urgent)["EndTime"] <= state["StartTime"]
    assert_stopped_once_and_ended_alike(log.read_text(), "SIGTERM", output, undisturbed)
