"""``internlm2 evaluate suite=exams``: tasks of lm-eval from files, in a process of its own."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command import internlm2

pytest.importorskip("lm_eval", reason="needs internlm2-core[exams]")


def test_exams_from_files(tmp_path: Path, save_random_model: Any) -> None:
    save_random_model(tmp_path / "model", layers=1, dim=16, num_kv_heads=1, q_per_kv=2, head_dim=8, ffn_dim=24)
    for split in ("dev", "test"):
        file = tmp_path / "exams/mmlu/anatomy" / f"{split}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"question": f"{n} and one?", "choices": ["1", "2", "3", "4"], "answer": n % 4} for n in range(6)]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = ("evaluate", "checkpoint=model", "suite=exams", "data=exams", "missing=leave_out", "suite.mmlu.shots=1")
    done = internlm2(*common, "tasks=[mmlu,mmlu_anatomy]", "limit=3", "output=out", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    tasks = json.loads((tmp_path / "out/metrics.json").read_text())["tasks"]
    assert [(task["count"], task["tasks"]["mmlu_anatomy"]["shots"]) for task in tasks.values()] == [(3, 1), (3, 0)]
    assert len(tasks["mmlu"]["left_out"]) == 56
    failed = internlm2(*common, "tasks=[mmlu,gsm8k]", "output=other", folder=tmp_path)
    assert failed.returncode != 0
    assert "The task gsm8k needs the split train of gsm8k: exams/gsm8k/train.jsonl does not exist." in failed.stderr
    assert not (tmp_path / "other/metrics.json").exists()
