"""The job ``internlm2 evaluate``: a suite of tasks for one model."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from internlm2_records.progress import LineProgress

from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Task
from internlm2_core.evaluation.written import write_json, write_jsonl
from internlm2_core.generation import Engine, LocalEngine
from internlm2_core.nn.language_model import LanguageModel
from internlm2_core.text import load_tokenizer

SCHEMA = "internlm2/metrics/1"


def evaluate(
    checkpoint: str,
    suite: Mapping[str, Task],
    output: str,
    engine: Callable[[LanguageModel], Engine] = LocalEngine,
    device: str = "auto",
    batch_tokens: int = 16_384,
) -> dict[str, Any]:
    """Run every task, and write ``OUTPUT/metrics.json`` and ``OUTPUT/samples/TASK.jsonl``.

    ``metrics.json`` is written last. Where it exists, the samples are complete.

    Args:
        checkpoint: A model folder.
        suite: Tasks by name.
        output: Folder of the results.
        engine: Makes the engine that answers prompts from the network.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        batch_tokens: Tokens of documents scored at once.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If the folder holds no model.
        ValueError: If the suite has no tasks.
    """
    if not suite:
        raise ValueError("suite={} must have one task or more.")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    net = load_model(checkpoint).to(device).eval()
    tasks = run_suite(Subject(net, load_tokenizer(checkpoint), engine(net), batch_tokens), suite, Path(output))
    model = {"checkpoint": checkpoint, "parameters": net.size.num_params()} | vars(net.size)
    metrics = {"schema": SCHEMA, "model": model, "tasks": tasks}
    write_json(Path(output) / "metrics.json", metrics)
    return metrics


def run_suite(subject: Subject, suite: Mapping[str, Task], output: Path) -> dict[str, dict[str, Any]]:
    """Figures of each task by name.

    Args:
        subject: The model.
        suite: Tasks by name.
        output: Folder of the results. Samples are written to ``OUTPUT/samples``.
    """
    tasks: dict[str, dict[str, Any]] = {}
    with LineProgress() as bars:
        for name, task in suite.items():
            bar = bars.add_task(name, total=1)
            start = time.perf_counter()
            result = task.run(subject, lambda done, total, bar=bar: bars.update(bar, completed=done, total=total))  # type: ignore[misc]
            about = {"kind": task.kind, "version": task.version, "seconds": round(time.perf_counter() - start, 3)}
            tasks[name] = {**about, **result.figures}
            if result.samples:
                write_jsonl(output / "samples" / f"{name}.jsonl", result.samples)
                tasks[name]["samples"] = f"samples/{name}.jsonl"
    return tasks
