"""`internlm2 pretrain` on two ranks from a plain command line, in a sweep, and as Slurm would run it."""

import csv
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from internlm2_core.text.tokenizer import SPECIAL_TOKENS
from internlm2_data.tokens import TokenWriter
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.trainers import BpeTrainer

JOB = "6077"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = ByteLevel()
    alphabet = ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=300, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=alphabet)
    tokenizer.train_from_iterator(["a"], trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    draw = random.Random(0)
    with TokenWriter(folder / "tokens" / "all", 280) as writer:
        for _ in range(100):
            writer.add([draw.randrange(10, 260) for _ in range(draw.randrange(5, 60))])
    return folder


def command(data: Path, output: Path, *overrides: str, flags: tuple[str, ...] = ()) -> list[str]:
    sizes = {"vocab_size": 288, "layers": 2, "dim": 32, "head_dim": 8, "num_kv_heads": 4, "ffn_dim": 64}
    phase = {"context": 64, "short_context": 64, "batch_rows": 8, "steps": 5, "warmup_steps": 2}
    return [
        *(sys.executable, "-m", "internlm2_conf", "pretrain", *flags),
        *(f"tokens={data}/tokens", f"tokenizer.path={data}/tokenizer.json", f"output={output}"),
        *(f"model.size.{name}={value}" for name, value in sizes.items()),
        *(f"phase.{name}={value}" for name, value in phase.items()),
        "trainer.accelerator=cpu",
        "trainer.log_every_n_steps=1",
        *overrides,
    ]


def run(words: list[str], cwd: Path, **environment: str) -> None:
    env = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def losses(folder: Path) -> list[float]:
    with (folder / "logs" / "csv" / "metrics.csv").open() as file:
        return [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    folder = tmp_path_factory.mktemp("alone")
    run(command(data, folder / "run", "strategy=single"), folder)
    found = losses(folder / "run")
    assert len(found) == 5
    return found


def assert_equal(found: list[float], expected: list[float]) -> None:
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp", "tensor", "pipeline"])
def test_two_ranks_from_a_plain_command_line(name: str, data: Path, alone: list[float], tmp_path: Path) -> None:
    micro_batches = ["strategy.treatment.pipeline.micro_batches=4"] if name == "pipeline" else []
    run(command(data, tmp_path / "run", f"strategy={name}", "trainer.devices=2", *micro_batches), tmp_path)
    assert_equal(losses(tmp_path / "run"), alone)
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()


@pytest.mark.slow
def test_a_sweep_starts_ranks_of_its_own_for_each_job_and_outlives_one_whose_ranks_fail(
    data: Path, alone: list[float], tmp_path: Path
) -> None:
    sweep = f"tokens={tmp_path}/nothing,{data}/tokens"
    words = command(data, tmp_path / "run", "strategy=fsdp", "trainer.devices=2", sweep, flags=("-m",))
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 1
    assert f"{tmp_path}/run/0: " in done.stderr and f"{tmp_path}/nothing" in done.stderr
    assert f"the job in {tmp_path}/run/0 failed. The other jobs of the sweep ran." in done.stderr
    assert_equal(losses(tmp_path / "run" / "1"), alone)


def test_a_bad_layout_is_one_sentence(data: Path, tmp_path: Path) -> None:
    words = command(data, tmp_path / "run", "strategy=tensor", "trainer.devices=3")
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "kv heads 4 % tensor=3 != 0" in done.stderr and "Traceback" not in done.stderr


def slurm_commands(folder: Path) -> Path:
    """Stand-ins for Slurm's commands: sbatch keeps the script, nothing runs."""
    folder.mkdir()
    scripts = {
        "sbatch": f'cp "${{@: -1}}" {folder}/submission.sh; echo "Submitted batch job {JOB}"',
        "srun": "exit 0",
        "sacct": "exit 0",
    }
    for name, body in scripts.items():
        (folder / name).write_text(f"#!/bin/bash\n{body}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.mark.slow
def test_a_slurm_submission_is_valid_and_its_tasks_become_ranks(data: Path, alone: list[float], tmp_path: Path) -> None:
    commands = slurm_commands(tmp_path / "bin")
    words = command(data, tmp_path / "run", "strategy=fsdp", "trainer.devices=2", "hydra/launcher=slurm",
                    "hydra.launcher.partition=main")  # fmt: skip
    env = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    submitting = subprocess.Popen(words, cwd=tmp_path, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    job_folder = tmp_path / "run" / ".submitit" / JOB
    try:
        end = time.monotonic() + 60
        while not (job_folder / f"{JOB}_submitted.pkl").is_file() and time.monotonic() < end:
            time.sleep(0.1)
    finally:
        submitting.kill()
        submitting.wait()
    script = (commands / "submission.sh").read_text()
    for line in (
        "--ntasks-per-node=2",
        "--nodes=1",
        "--partition=main",
        "--signal=USR2@300",
        "--job-name=internlm2-pretrain",
    ):
        assert f"#SBATCH {line}" in script
    [srun] = [line for line in script.splitlines() if line.startswith("srun")]
    assert srun.endswith(f"-m submitit.core._submit {tmp_path}/run/.submitit/%j")

    tasks = [subprocess.Popen([sys.executable, "-m", "submitit.core._submit", str(job_folder)], cwd=tmp_path,
                              env={**os.environ, "OMP_NUM_THREADS": "1", **as_slurm_task(task)},
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for task in range(2)]  # fmt: skip
    try:
        assert [task.wait(timeout=120) for task in tasks] == [0, 0]
    finally:
        for task in tasks:
            task.kill()
    assert_equal(losses(tmp_path / "run" / "0"), alone)


def as_slurm_task(task: int) -> dict[str, str]:
    """The variables that srun gives to a task."""
    return {
        "SUBMITIT_EXECUTOR": "slurm",
        "SLURM_JOB_ID": JOB,
        "SLURM_JOB_NAME": "internlm2-pretrain",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "2",
        "SLURM_PROCID": str(task),
        "SLURM_LOCALID": str(task),
        "SLURM_NODEID": "0",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "127.0.0.1",
        "SLURM_NODELIST": "127.0.0.1",
    }
