"""The job ``internlm2 best``: the checkpoint of a run that is best by a figure of its evaluations."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from internlm2_core.checkpoint.replacing import new_folder
from internlm2_core.evaluation.watching.found import checkpoints_of
from internlm2_core.evaluation.watching.record import FILE, Evaluation, evaluations_of
from internlm2_core.jobs.export import export

Mode = Literal["max", "min"]


def best(run: str, figure: str, mode: Mode = "max", label: str | None = None, to: str | None = None) -> dict[str, Any]:
    """Pick the best checkpoint that was evaluated. Write its model, if asked to.

    Args:
        run: Folder of the run.
        figure: Dotted name of a number of ``metrics.json``, such as ``tasks.needle.overall.accuracy``.
        mode: Whether it is best at its ``max`` or ``min``. Of equal ones the earliest is taken.
        label: Evaluations that count. None takes all that have the figure.
        to: Model folder to write. None writes none.

    Returns:
        ``step``, ``checkpoint``, ``value``, ``label`` and ``candidates``, how many evaluations have the figure.

    Raises:
        FileNotFoundError: If the run has no evaluations, or the best model is neither kept nor in a checkpoint.
        ValueError: If no evaluation has the figure.
    """
    check_mode(mode)
    found = [one for one in evaluations_of(run) if label in (None, one.label)]
    if not found:
        labels = f" with label={label}" if label else ""
        raise FileNotFoundError(f"run={run} has no evaluations{labels} in {FILE}.")
    chosen = best_of(found, figure, mode)
    value, candidates = chosen.figures[figure], sum(figure in one.figures for one in found)
    print(f"step {chosen.step}: {figure} is {value:g}, the {mode} of {candidates} evaluations")
    if to is not None:
        write_model(Path(run), chosen, to)
    about = {"step": chosen.step, "checkpoint": chosen.checkpoint, "value": value}
    return {**about, "label": chosen.label, "candidates": candidates}


def best_of(evaluations: Sequence[Evaluation], figure: str, mode: Mode) -> Evaluation:
    """The evaluation that is best by a figure. Of equal ones that of the earliest step.

    Args:
        evaluations: What was measured.
        figure: Name of the figure.
        mode: Whether it is best at its ``max`` or ``min``.

    Raises:
        ValueError: If none has the figure.
    """
    able = sorted((one for one in evaluations if figure in one.figures), key=lambda one: one.step)
    if not able:
        known = sorted({name for one in evaluations for name in one.figures})
        raise ValueError(f"figure={figure} must be one of {', '.join(known)}.")
    return (max if mode == "max" else min)(able, key=lambda one: one.figures[figure])


def check_mode(mode: str) -> None:
    """Refuse an unknown mode.

    Raises:
        ValueError: If it is neither ``max`` nor ``min``.
    """
    if mode not in ("max", "min"):
        raise ValueError(f"mode={mode} must be one of max, min.")


def write_model(run: Path, evaluation: Evaluation, to: str) -> None:
    """The model of an evaluation as a folder: the one that was kept, or from its checkpoint.

    Args:
        run: Folder of the run.
        evaluation: Whose model.
        to: Model folder to write.

    Raises:
        FileNotFoundError: If there is neither.
    """
    kept = run / evaluation.output / "model"
    if kept.is_dir():
        with new_folder(to, kept) as draft:
            shutil.copytree(kept, draft, dirs_exist_ok=True)
        print(f"{to}: the model of step {evaluation.step}")
        return
    path = checkpoints_of(run).get(evaluation.step)
    if path is None:
        raise FileNotFoundError(
            f"The model of step {evaluation.step} is gone: {evaluation.checkpoint} was removed by the run's keep_last, "
            "and keep=null kept no model. Watch with the figure as keep."
        )
    export(str(path), to)
