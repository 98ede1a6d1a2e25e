"""The job ``internlm2 evaluate``: a suite of tasks for one model."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from internlm2_records.progress import LineProgress

from internlm2_core.checkpoint.any_layout import load_model
from internlm2_core.evaluation.answers import AnswerStore, asked_of, forget
from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Prepared, Task
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
    answer_tokens: int = 65_536,
    tasks: Sequence[str] | None = None,
    others: Callable[[str], Task] | None = None,
    fresh: bool = False,
) -> dict[str, Any]:
    """Run every task, and write ``OUTPUT/metrics.json`` and ``OUTPUT/samples/TASK.jsonl``.

    Answers are kept in ``OUTPUT/answers.sqlite`` as they come. An evaluation that was stopped finds them there, and
    ends with the same figures. ``metrics.json`` is written last. Where it exists, the samples are complete.

    Args:
        checkpoint: A model folder.
        suite: Tasks by name.
        output: Folder of the results.
        engine: Makes the engine that answers prompts from the network.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        batch_tokens: Tokens of documents scored at once.
        answer_tokens: Tokens of prompts and answers given to the engine at once.
        tasks: Names of the tasks that are run. None runs the suite.
        others: Makes tasks that the suite lacks from their names.
        fresh: Forget the answers of earlier runs.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If the folder holds no model, or a task lacks its data.
        ValueError: If the suite has no tasks, or lacks one that is named.
    """
    suite = chosen(suite, tasks, others)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    net, tokenizer = load_model(checkpoint).to(device).eval(), load_tokenizer(checkpoint)
    answers = engine(net)
    if isinstance(answers, LocalEngine):
        answers.decode = answers.decode or tokenizer.decode  # stop strings need it
        answers.prepare()  # now, so that losses do not depend on whether something was generated before
    file = Path(output) / "answers.sqlite"
    if fresh:
        forget(file)
    store = AnswerStore(file, asked_of(Path(checkpoint), {"engine": described(engine), "device": device}))
    try:
        subject = Subject(net, tokenizer, answers, batch_tokens, answer_tokens, store)
        figures = run_suite(subject, suite, Path(output))
    finally:
        store.close()
    model = {"checkpoint": checkpoint, "parameters": net.size.num_params()} | vars(net.size)
    metrics = {"schema": SCHEMA, "model": model, "tasks": figures}
    write_json(Path(output) / "metrics.json", metrics)
    return metrics


def chosen(
    suite: Mapping[str, Task], tasks: Sequence[str] | None, others: Callable[[str], Task] | None
) -> Mapping[str, Task]:
    """The tasks that are run.

    Args:
        suite: Tasks by name.
        tasks: Names of some. None takes the suite.
        others: Makes tasks that the suite lacks from their names.

    Raises:
        ValueError: If there are no tasks, or one that is named can neither be found nor made.
    """
    names = list(suite) if tasks is None else list(tasks)
    if not names:
        raise ValueError("suite={} must have one task or more." if tasks is None else "tasks=[] must name one or more.")
    if others is None and (missing := [name for name in names if name not in suite]):
        raise ValueError(f"tasks={missing} must be of the suite, which has {', '.join(suite)}.")
    return {name: suite[name] if name in suite or others is None else others(name) for name in names}


def described(engine: Any) -> str:
    """An engine's maker in words: its name, and what it is given."""
    given = sorted(engine.keywords.items()) if isinstance(engine, partial) else []
    maker = engine.func if isinstance(engine, partial) else engine
    return f"{maker.__module__}.{getattr(maker, '__qualname__', type(maker).__qualname__)} {given}"


def run_suite(subject: Subject, suite: Mapping[str, Task], output: Path) -> dict[str, dict[str, Any]]:
    """Figures of each task by name.

    Args:
        subject: The model.
        suite: Tasks by name.
        output: Folder of the results. Samples are written to ``OUTPUT/samples``.
    """
    for task in suite.values():
        if isinstance(task, Prepared):
            task.prepare(subject)
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
