"""`internlm2 pretrain +experiment=three_phases`, small: one run, three contexts, one model."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from internlm2_data.tokens import TokenWriter

from tests.command import internlm2

pytestmark = pytest.mark.slow

SMALL = {
    "short": {"steps": 3, "context": 32, "batches.batch_rows": 4, "warmup_steps": 1},
    "long": {"steps": 2, "context": 64, "batches.batch_rows": 2, "batches.short_context": 32, "warmup_steps": 0},
    "enhancement": {"steps": 2, "context": 64, "batches.batch_rows": 2, "batches.short_context": 32, "warmup_steps": 0},
}


def write_inputs(folder: Path) -> None:
    random = np.random.default_rng(1)
    for name, length in (("tokens/web", 50), ("long/book", 500)):
        (folder / name).parent.mkdir(parents=True)
        with TokenWriter(folder / name, 300) as out:
            for _ in range(20):
                out.add(random.integers(0, 250, length).tolist())


def test_one_run_goes_through_all_three(tmp_path: Path, tokenizer_file: Path) -> None:
    write_inputs(tmp_path)
    small = [f"phases.phases.{name}.{key}={value}" for name, keys in SMALL.items() for key, value in keys.items()]
    words = ["pretrain", "+experiment=three_phases", "phase.steps=7", "model=tiny", "tokens=tokens", "long_tokens=long"]
    words += [f"tokenizer.path={tokenizer_file}", "trainer.log_every_n_steps=1", "output=out", *small]
    words += ["validation.web=tokens/web", "validate_every=3"]
    result = internlm2(*words, folder=tmp_path)
    assert result.returncode == 0, result.stderr[-3000:]
    record = json.loads((tmp_path / "out" / "training.json").read_text())
    assert record["steps"] == 7
    with (tmp_path / "out" / "logs" / "csv" / "metrics.csv").open() as file:
        losses = {int(row["step"]): float(row["valid/web"]) for row in csv.DictReader(file) if row["valid/web"]}
    assert list(losses) == [2, 5, 6]  # after every third step and after the last, counted from 0
    assert losses[6] < losses[2]
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text())
    assert (config["rope_theta"], config["max_position_embeddings"]) == (1_000_000.0, 64)
