"""The job ``internlm2 evaluate suite=reward``: published benchmarks for one reward model.

    suite (benchmarks by name) ──┐                    ┌─► metrics.json        laid out as evaluation/schema.json says
    folder of a reward model ────┴─► Scorer ─► rules ─┼─► samples/TASK.jsonl  scores and verdict of every item
                                       └─ kept.jsonl  └─► the row beside the published ones

Scores are kept as they come. A run that was stopped resumes with equal figures.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from internlm2_core.evaluation.job import SCHEMA
from internlm2_core.evaluation.written import write_json, write_jsonl
from internlm2_records.progress import LineProgress
from rich.console import Console
from rich.progress import TaskID

from internlm2_align.kept import Kept, files_of
from internlm2_align.reward.encoding import ConversationEncoder
from internlm2_align.reward.model import RewardModel
from internlm2_align.reward.scoring import Scorer
from internlm2_align.reward_benchmarks.item import Benchmark
from internlm2_align.reward_benchmarks.modes import NoPrompts, Prompts, tables_of
from internlm2_align.reward_benchmarks.scores import Scores, measured
from internlm2_align.reward_benchmarks.table import table

KIND = "reward_benchmark"


def evaluate_reward(
    checkpoint: str,
    suite: Mapping[str, Benchmark],
    output: str,
    data: str | None = None,
    tasks: Sequence[str] | None = None,
    conditions: str | None = None,
    prompts: Prompts = "both",
    device: str = "auto",
    budget_tokens: int = 16_384,
    max_tokens: int = 8192,
) -> dict[str, Any]:
    """Score benchmarks with and without condition prompts, and print the row beside the published ones.

    Args:
        checkpoint: Folder of a reward model.
        suite: Benchmarks by name.
        output: Folder of the results.
        data: Folder with the files of the benchmarks.
        tasks: Names of the benchmarks that are wanted. None takes those whose files are there, and says which are not.
        conditions: File of a condition table. None takes the one beside the weights.
        prompts: Whether items are scored with condition prompts, without, or both.
        device: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        budget_tokens: Tokens scored at once.
        max_tokens: Longest conversation. Items with a longer one are left out and counted.

    Returns:
        What ``metrics.json`` holds.

    Raises:
        FileNotFoundError: If the model, or files of a benchmark that is wanted, are not there.
        ValueError: If ``data`` is None, a benchmark is unknown, a domain has no condition, or a score is not finite.
    """
    if data is None:
        raise ValueError("data=None must be the folder with the files of the benchmarks.")
    chosen = chosen_of(suite, Path(data), tasks)
    tables = tables_of(checkpoint, conditions, prompts)
    model = RewardModel.load(checkpoint, conditions=NoPrompts(), max_tokens=max_tokens)
    net = model.net.to(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
    kept, weights = Kept(Path(output) / "kept.jsonl"), files_of(checkpoint)
    encoders = {name: ConversationEncoder(model.encoder.tokenizer, own, max_tokens) for name, own in tables.items()}
    modes = {name: Scores(Scorer(net, own, budget_tokens), kept, weights) for name, own in encoders.items()}
    figures = _all_figures(chosen, Path(data), modes, Path(output))
    parameters = sum(weight.numel() for weight in net.parameters())
    about = {"checkpoint": checkpoint, "parameters": parameters} | vars(model.net.size)
    metrics = {"schema": SCHEMA, "model": about, "tasks": figures}
    write_json(Path(output) / "metrics.json", metrics)
    Console().print(table(figures))
    return metrics


def _all_figures(
    suite: Mapping[str, Benchmark], data: Path, modes: Mapping[str, Scores], output: Path
) -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    with LineProgress() as bars:
        for name, benchmark in suite.items():
            bar = bars.add_task(name, total=1)
            start = time.perf_counter()

            def progress(done: int, total: int, bar: TaskID = bar) -> None:
                bars.update(bar, completed=done, total=total)

            found, samples = measured(benchmark, data, modes, progress)
            seconds = round(time.perf_counter() - start, 3)
            write_jsonl(output / "samples" / f"{name}.jsonl", samples)
            about = {"kind": KIND, "version": benchmark.version, "seconds": seconds, "benchmark": benchmark.name}
            figures[name] = {**about, **found, "samples": f"samples/{name}.jsonl"}
    return figures


def chosen_of(suite: Mapping[str, Benchmark], data: Path, tasks: Sequence[str] | None) -> dict[str, Benchmark]:
    """The benchmarks that are wanted. Says which are left out for want of files.

    Args:
        suite: Benchmarks by name.
        data: Folder with their files.
        tasks: Names, or None for those whose files are there.

    Raises:
        FileNotFoundError: If files of a benchmark that is wanted, or of all, are not there.
        ValueError: If a name is unknown.
    """
    missing = {name: data / one.path for name, one in suite.items() if not (data / one.path).exists()}
    for name in tasks or ():
        if name not in suite:
            raise ValueError(f"tasks={name} must be one of {', '.join(suite)}.")
        if name in missing:
            raise FileNotFoundError(
                f"tasks={name} needs the files of {suite[name].name}, but {missing[name]} does not exist."
            )
    if len(missing) == len(suite):
        raise FileNotFoundError(f"data={data} holds none of {', '.join(str(one.path) for one in suite.values())}.")
    if not tasks and missing:
        print(f"Left out, since their files are not there: {', '.join(map(str, missing.values()))}.", flush=True)
    return {name: suite[name] for name in (tasks or suite) if name not in missing}
