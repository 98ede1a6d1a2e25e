"""What `internlm2 plan` writes is typed after `internlm2 pretrain` and trains, at a tiny size on CPU ranks.

Sizes of the model, length of the rows and number of steps are small. All else is typed as it was written.
"""

import csv
import math
import os
import random
import sys
from pathlib import Path
from typing import Any

import internlm2_conf.__main__ as command
import pytest
from internlm2_core.sizes import SIZES
from internlm2_core.text.tokenizer import load_tokenizer
from internlm2_data.tokens import TokenWriter
from internlm2_parallel.layout import AXES
from internlm2_parallel.search import Workload, machine_called, ranked
from internlm2_parallel.search.job import record
from internlm2_parallel.testing import run_ranks

SETUPS = [
    ("1.8B", 2, 4096, 16, "h200"),
    ("1.8B", 4, 32768, 8, "h100"),
    ("7B", 4, 4096, 16, "h200"),
    ("7B", 8, 4096, 32, "h100"),
    ("20B", 8, 32768, 8, "h200"),
]
"""Size, GPUs, tokens of a row, rows of a batch, hardware."""

TINY = {"layers": 8, "dim": 64, "num_kv_heads": 8, "q_per_kv": 1, "head_dim": 8, "ffn_dim": 64, "vocab_size": 288}
SHORT = {"context": 64, "short_context": 64, "steps": 2, "warmup_steps": 1}


@pytest.fixture(scope="module")
def data(tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, draw = tmp_path_factory.mktemp("data"), random.Random(0)
    with TokenWriter(folder / "all", load_tokenizer(tokenizer_file).vocab_size) as writer:
        for _ in range(400):
            writer.add([draw.randrange(10, 250) for _ in range(draw.randrange(20, 60))])
    return folder


def first_ten(size: str, gpus: int, tokens: int, rows: int, hardware: str) -> list[dict[str, Any]]:
    work, machine = Workload(SIZES[size], tokens, tokens * rows), machine_called(hardware)
    return [record(*entry, work, machine) for entry in ranked(work, gpus, machine)[:10]]


def trains(entry: dict[str, Any], data: Path, tokenizer: Path, folder: Path) -> None:
    words = [
        *entry["overrides"],
        *(f"model.size.{name}={value}" for name, value in TINY.items()),
        *(f"phase.{name}={value}" for name, value in SHORT.items()),
        *(f"tokens={data}", f"tokenizer.path={tokenizer}", f"output={folder}/run"),
        *("trainer.accelerator=cpu", "trainer.log_every_n_steps=1"),
    ]

    def rank() -> None:
        os.chdir(folder)
        sys.argv = ["internlm2", "pretrain", *words]
        try:
            command.main()
        except SystemExit as left:
            assert not left.code, left.code

    ranks = math.prod(entry[axis] for axis in AXES)
    run_ranks(rank, ranks, join=False, deadline_s=1800)
    with (folder / "run/logs/csv/metrics.csv").open() as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 2 and all(5 < loss < 7 for loss in losses)


def test_a_plan_trains_as_it_is_written(data: Path, tokenizer_file: Path, tmp_path: Path) -> None:
    trains(first_ten(*SETUPS[0])[0], data, tokenizer_file, tmp_path)


@pytest.mark.skipif("INTERNLM2_PLANS" not in os.environ, reason="INTERNLM2_PLANS=1 runs every plan of five set-ups")
@pytest.mark.parametrize("setup", SETUPS, ids=str)
@pytest.mark.parametrize("place", range(10))
def test_every_plan_trains_as_it_is_written(
    setup: tuple[str, int, int, int, str], place: int, data: Path, tokenizer_file: Path, tmp_path: Path
) -> None:
    trains(first_ten(*setup)[place], data, tokenizer_file, tmp_path)
