"""Progress without a terminal: plain lines, and a word to who interrupts a run."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from internlm2_core.callbacks import Checkpoints, ProgressLine, progress


def test_a_log_file_gets_a_line_twice_a_minute(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: now.s)
    line, trainer = ProgressLine(), SimpleNamespace(is_global_zero=True)
    line.begin(trainer, "training", 400, 0)  # type: ignore[arg-type]
    for step in range(1, 101):
        now.s += 1.0
        line.move(step, f"loss {step}.5")
    lines = capsys.readouterr().out.splitlines()
    assert [text.split("  ")[:2] for text in lines] == [
        [f"training {step}/400", f"loss {step}.5"] for step in (30, 60, 90)
    ]
    line.on_train_end(trainer, None)  # type: ignore[arg-type]
    assert capsys.readouterr().out.startswith("training 100/400  loss 100.5")


def test_who_interrupts_is_told_what_is_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saver = Checkpoints(tmp_path, every_n_train_steps=5)
    trainer: Any = SimpleNamespace(is_global_zero=True, global_step=7)
    saver.on_exception(trainer, None, KeyboardInterrupt())  # type: ignore[arg-type]
    assert capsys.readouterr().err == (
        f"Interrupted after step 7. There is no checkpoint in {tmp_path} yet: 7 steps since are lost. "
        "The same command resumes.\n"
    )
    saver.on_exception(trainer, None, RuntimeError())  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
