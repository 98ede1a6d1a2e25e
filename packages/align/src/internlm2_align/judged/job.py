"""The job ``internlm2 evaluate`` for suites that a judge decides, of a model or of a file of answers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from internlm2_core.evaluation import Task, evaluate
from internlm2_core.evaluation.job import SCHEMA, run_suite
from internlm2_core.evaluation.written import write_json
from internlm2_core.generation import Engine, LocalEngine
from internlm2_core.nn.language_model import LanguageModel

from internlm2_align.judged.answers import Answers, FileAnswers, ModelAnswers


def evaluate_judged(
    checkpoint: str | None,
    suite: Mapping[str, Task],
    output: str,
    engine: Callable[[LanguageModel], Engine] = LocalEngine,
    device: str = "auto",
) -> dict[str, Any]:
    """Have the answers of a model judged, or those of files.

    Args:
        checkpoint: A model folder. None loads no model: every task must have a file of answers.
        suite: Tasks by name.
        output: Folder of the results.
        engine: Makes the engine that answers prompts from the network.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        ValueError: If the suite has no tasks, or a task needs a model.
    """
    if checkpoint is not None:
        return evaluate(checkpoint, suite, output, engine, device)
    metrics = {"schema": SCHEMA, "model": None, "tasks": run_suite(None, suite, Path(output))}  # type: ignore[arg-type]
    write_json(Path(output) / "metrics.json", metrics)
    return metrics


def answers_from(
    checkpoint: str | None, file: str | None, folder: str, max_new_tokens: int = 1024, seed: int = 1
) -> Answers:
    """Answers of a file where there is one, else of the model.

    Args:
        checkpoint: Folder of the model.
        file: File of answers.
        folder: Where answers of the model are kept.
        max_new_tokens: The most tokens of an answer.
        seed: Of the sampling.
    """
    return FileAnswers(file) if file is not None else ModelAnswers(folder, checkpoint, max_new_tokens, seed)
