"""Figures of evaluations for TensorBoard, beside those of training."""

import shutil
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from internlm2_core.evaluation.watching.record import Evaluation, claimed

SKIPPED = (".seconds", ".version", ".count", ".items", ".records", ".ties", ".pairs")
"""Ends of names that are no figures of a model."""


def show(run: Path, evaluations: Iterable[Evaluation]) -> None:
    """Write an event file for each evaluation that has none, in ``RUN/logs/evaluations-LABEL``.

    Args:
        run: Folder of the run.
        evaluations: What was measured.
    """
    found = list(evaluations)
    if not found:
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed. Its files are not written.", file=sys.stderr)
        return
    with claimed(run / "evaluations" / ".board.lock", waits=True):
        for one in found:
            if not list(folder_of(run, one).glob(f"*{suffix_of(one)}")):
                _write(run, one, SummaryWriter)


def _write(run: Path, one: Evaluation, open_writer: Callable[..., Any]) -> None:
    # Written beside, then moved: a killed process leaves no half of it where it would count.
    draft = folder_of(run, one).with_name(f".evaluations-{one.step}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    with open_writer(str(draft), filename_suffix=suffix_of(one)) as writer:
        for name, value in one.figures.items():
            if not name.endswith(SKIPPED):
                writer.add_scalar(name.removeprefix("tasks.").replace(".", "/"), value, one.step)
    folder_of(run, one).mkdir(parents=True, exist_ok=True)
    for file in draft.iterdir():
        file.replace(folder_of(run, one) / file.name)
    draft.rmdir()


def folder_of(run: Path, evaluation: Evaluation) -> Path:
    """Where TensorBoard finds the figures of a label.

    Args:
        run: Folder of the run.
        evaluation: One of the label.
    """
    return run / "logs" / f"evaluations-{evaluation.label}"


def suffix_of(evaluation: Evaluation) -> str:
    """End of the name of an event file."""
    return f".step-{evaluation.step}"
