"""`internlm2 watch` beside a training, and `internlm2 best` after it."""

import json
from pathlib import Path

import pytest
from internlm2_core.evaluation.watching.record import evaluations_of

from tests.command import internlm2, started


@pytest.fixture
def folder(with_sft_model: Path) -> Path:
    """An SFT model, pairs and a benchmark."""
    pairs = [{"domain": "helpful", "prompt": f"q{n}", "chosen": "a" * n, "rejected": "b"} for n in range(1, 9)]
    (with_sft_model / "train.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    bars = [{"input": f"q{n}", "output_1": "a" * n, "output_2": "b", "label": 1} for n in range(1, 6)]
    (with_sft_model / "data/LLMBar").mkdir(parents=True)
    (with_sft_model / "data/LLMBar/natural.json").write_text(json.dumps(bars))
    return with_sft_model


def test_a_run_is_evaluated_while_it_trains(folder: Path) -> None:
    (streams := folder / "watching").mkdir()
    watched = ("evaluate.suite=reward", "evaluate.data=data", "evaluate.device=cpu", "tasks.llmbar.domain=helpful")
    watching = started("watch", "run=out", *watched, "every_s=0.1", "patience_s=200", folder=folder, streams=streams)
    try:
        trained = internlm2(
            "reward", "checkpoint=sft", "preferences=[train.jsonl]", "heldout=[]", "batches.budget_tokens=100",
            "checkpoint_every=2", "trainer.max_steps=6", "callbacks.checkpoint.keep_last=-1", "logger=none", "trainer.accelerator=cpu",
            "output=out", folder=folder,
        )  # fmt: skip
        assert trained.returncode == 0, trained.stderr
        watching.join(240)
    finally:
        watching.kill()
    assert watching.exitcode == 0, (streams / "err").read_text()
    found = evaluations_of(folder / "out")
    steps = [one.step for one in found]
    assert steps == sorted(int(path.stem[5:]) for path in (folder / "out/checkpoints").glob("step-*.ckpt"))
    assert len(steps) > 2 and {one.label for one in found} == {"reward"}
    figure = "tasks.llmbar.with_conditions.score"
    chosen = internlm2("best", "run=out", f"figure={figure}", "to=best", folder=folder)
    assert chosen.returncode == 0, chosen.stderr
    top = max(one.figures[figure] for one in found)
    assert f"{figure} is {top:g}" in chosen.stdout and (folder / "best/conditions.yaml").is_file()
