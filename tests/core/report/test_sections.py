"""What core shows of its own files."""

from pathlib import Path

import pytest
from internlm2_core.report.readers import read_curves
from internlm2_core.report.sections import PUBLISHED
from internlm2_core.report.sections.all_figures import leaves, same_task, show_figures
from internlm2_core.report.sections.evaluation import show_needle
from internlm2_core.report.sections.training import show_training
from internlm2_records.report import Found, Heat, Table

CSV = """epoch,step,train/loss,train/tokens,train/tokens_per_s,train/mfu,valid/zh
0,9,4.0,1000,100,0.5,
0,9,,,,,2.5
0,19,nan,2000,300,0.4,
0,29,3.0,3000,200,0.3,2.0
"""


def test_speed_is_a_mean_and_losses_by_language_are_found(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(CSV)
    read = read_curves(tmp_path / "metrics.csv", {"train/loss": "Loss", "train/lr": "Rate"})
    assert read["series"] == {"Loss": {"steps": [9, 29], "values": [4.0, 3.0], "rows_per_point": 1}}
    assert read["validation"] == {"zh": {"steps": [9, 29], "values": [2.5, 2.0], "rows_per_point": 1}}
    assert read["missing_columns"] == ["train/lr"]
    speed = read["speed"]
    assert (speed["steps"], speed["tokens"], speed["tokens_per_s"], speed["loss"]) == (30, 3000, 200, 3.0)
    assert speed["mfu"] == pytest.approx(0.4) and speed["mfu_internevo"] is None
    table = next(block for block in show_training([Found("curves", "phase", read)]) if isinstance(block, Table))
    assert "Speeds are means" in table.note and "not known" not in table.note


def test_a_task_of_any_kind_gives_its_numbers() -> None:
    task = {
        "kind": "new", "version": 3, "seconds": 1.0, "acc": 0.25, "flag": True, "name": "x", "none": None,
        "subsets": {"a": {"acc": 0.5}, "b": 0.75}, "score": {"name": "exact_match", "value": 0.1, "stderr": 0.01},
    }  # fmt: skip
    assert list(leaves(task)) == [("acc", 0.25), ("subsets › b", 0.75), ("exact_match", 0.1)]
    assert ("subsets › a › acc", 0.5) in list(leaves(task, depth=3))


@pytest.mark.parametrize(
    ("name", "task"),
    [("mmlu", "mmlu"), ("MMLU_5shot", "mmlu"), ("gsm8k_cot_zeroshot", "gsm8k"), ("mmlu_pro", "mmlupro")],
)
def test_names_of_tasks(name: str, task: str) -> None:
    assert same_task(name) == task


def test_variants_of_the_needle_have_an_effective_length_and_maps() -> None:
    grid = {"score": 0.75, "by_length": {}, "grid": [[1.0], [0.5]]}
    cells = grid | {"effective_length": {"tokens": 4096, "low": 2048, "high": None}}
    task = {"kind": "retrieval", "version": 1, "lengths": [128, 4096], "depths": [0.5], "trials": 3, "threshold": 0.856}
    task |= {"overall": cells, "languages": {"zh": cells | {"kinds": {"chain": cells}}}}
    found = [Found("evaluation", "ours", {"tasks": {"far": task}})]
    blocks = list(show_needle(found))
    [table] = [block for block in blocks if isinstance(block, Table)]
    assert list(table.rows[0].cells) == [0.75, 4096, 2048, None] and "85.6 %" in table.note
    heats = [block for block in blocks if isinstance(block, Heat)]
    assert [(heat.title, heat.mean) for heat in heats] == [("zh", 0.75), ("zh, chain", 0.75)]
    [figures] = [block for block in show_figures(found, []) if isinstance(block, Table)]
    assert [row.label for row in figures.rows] == ["far", "overall › score", "overall › effective_length › tokens"]


def test_published_figures_are_those_of_the_card_beside_tasks_that_ran() -> None:
    found = Found(
        "evaluation", "ours", {"tasks": {"gsm8k": {"kind": "harness", "acc": 0.1}, "own": {"kind": "x", "y": 1}}}
    )
    tables = [block for block in show_figures([found], PUBLISHED) if isinstance(block, Table)]
    [row] = tables[1].rows
    assert (row.label, list(row.cells)) == ("gsm8k", [70.8, 70.7, 76.1, 79.6])
    assert "not comparable" in tables[1].note and "model_cards/internlm2_7b.md" in tables[1].note
    assert [row.label for row in tables[0].rows] == ["gsm8k", "acc", "own", "y"]
    assert len(list(show_figures([Found("evaluation", "ours", {"tasks": {}})], PUBLISHED))) == 2
