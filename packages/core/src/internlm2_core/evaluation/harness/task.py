"""A task, group or tag of lm-eval as a task of a suite."""

import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from internlm2_core.evaluation.subject import Subject
from internlm2_core.evaluation.task import Progress, Result
from internlm2_core.sandbox import Sandbox

if TYPE_CHECKING:
    from internlm2_core.evaluation.harness.loading import LocalFactory

BOOTSTRAP = 1000
"""Draws for standard errors of metrics that are not means."""


class HarnessTask:
    """What lm-eval calls by a name: ``mmlu``, ``gsm8k``, ``humaneval``.

    Prompts, answers' rules and metrics are lm-eval's. The model, the data and the running of programs are ours.

    Args:
        task: Name of a task, group or tag of lm-eval.
        data: Folder of the data, see `internlm2_core.evaluation.harness.data`. Nothing is fetched then. None reads from
            the hub, as lm-eval does.
        shots: Solved questions before each. None takes what lm-eval says.
        limit: Questions of each single task. None asks all.
        chat: Whether questions are asked in ChatML, with shots as turns.
        system: What the system says first in ChatML.
        max_length: Tokens that the model reads. None takes its trained length.
        seed: Seed of answers that are drawn.
        missing: ``leave_out`` runs a group without the tasks whose data is missing, and says so in the figures.
        lengths: Lengths of prompts that are made, such as RULER's. None takes lm-eval's.
        sandbox: Where programs run. None means a process with namespaces of its own.

    Raises:
        ValueError: If ``limit`` or ``shots`` is outside its range, or there is a system prompt and no chat.
    """

    kind: ClassVar[str] = "harness"
    version: ClassVar[int] = 1

    def __init__(
        self,
        task: str,
        data: str | None = None,
        shots: int | None = None,
        limit: int | None = None,
        chat: bool = False,
        system: str | None = None,
        max_length: int | None = None,
        seed: int = 1,
        missing: Literal["refuse", "leave_out"] = "refuse",
        lengths: Sequence[int] | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        for name, value, least in (("limit", limit, 1), ("shots", shots, 0), ("max_length", max_length, 2)):
            if value is not None and value < least:
                raise ValueError(f"{name}={value} of {task} must be {least} or more.")
        if system is not None and not chat:
            raise ValueError(f"system={system!r} of {task} needs chat=True.")
        self.task, self.data, self.shots, self.limit = task, data, shots, limit
        self.chat, self.system, self.max_length, self.seed = chat, system, max_length, seed
        self.missing, self.lengths, self.sandbox = missing, lengths, sandbox
        self._loaded: tuple[Subject, LocalFactory, dict[str, Any]] | None = None

    def prepare(self, subject: Subject) -> None:
        """Read the data and try the sandbox, before any task is asked.

        Args:
            subject: The model.

        Raises:
            FileNotFoundError: If data is missing.
            ValueError: If there is no such task, or lm-eval is not installed.
        """
        self._load(subject)

    def run(self, subject: Subject, progress: Progress) -> Result:
        """Ask every question.

        Args:
            subject: The model.
            progress: Called with how many requests of a kind are answered, and how many there are.
        """
        from lm_eval.evaluator import evaluate

        from internlm2_core.evaluation.harness.loading import instead
        from internlm2_core.evaluation.harness.model import HarnessModel

        factory, loaded = self._load(subject)
        model = HarnessModel(
            subject, self.max_length, self.seed, chat=self.chat, told=lambda kind, done, total: progress(done, total)
        )
        # lm-eval draws a bar for every task of a group.
        with instead("lm_eval.api.task", "tqdm", lambda items, **kwargs: items):
            found = evaluate(
                model,
                loaded,
                limit=self.limit,
                bootstrap_iters=BOOTSTRAP,
                apply_chat_template=self.chat,
                fewshot_as_multiturn=self.chat,
                system_instruction=self.system,
                confirm_run_unsafe_code=True,  # in the sandbox
            )
        self._loaded = None
        assert found is not None
        samples = [sample for name in found["samples"] for sample in samples_of(name, loaded["tasks"][name], found)]
        return Result(self._figures(found, loaded, model.max_length) | {"left_out": factory.left_out}, samples)

    def _load(self, subject: Subject) -> tuple["LocalFactory", dict[str, Any]]:
        if self._loaded is None or self._loaded[0] is not subject:
            try:
                from internlm2_core.evaluation.harness.data import LocalData
                from internlm2_core.evaluation.harness.loading import LocalFactory, load
            except ModuleNotFoundError as error:
                raise ValueError(
                    f'The task {self.task} needs lm-eval ({error}): pip install "internlm2-core[exams]".'
                ) from error
            logging.getLogger("lm_eval").setLevel(logging.ERROR)
            # RULER wants a name, and gets the tokenizer of this model whatever it is.
            meta = {"tokenizer": "of the model"} | ({"max_seq_lengths": list(self.lengths)} if self.lengths else {})
            data = LocalData(self.data) if self.data is not None else None
            factory = LocalFactory(data, self.shots, self.missing == "leave_out", meta)
            self._loaded = subject, factory, load(self.task, factory, subject.tokenizer, self.sandbox)
        return self._loaded[1:]

    def _figures(self, found: Mapping[str, Any], loaded: Mapping[str, Any], max_length: int) -> dict[str, Any]:
        tasks = {name: leaf_figures(task, found["results"][name], found) for name, task in loaded["tasks"].items()}
        groups = {
            name: {"metrics": metrics, "members": list(found["group_subtasks"].get(name, []))}
            for name in loaded.get("groups", {})
            if (metrics := metrics_of(found["results"].get(name) or found.get("groups", {}).get(name, {})))
        }
        whole = groups.get(self.task) or tasks.get(self.task)
        asked = {"task": self.task, "shots": self.shots, "limit": self.limit, "chat": self.chat, "system": self.system}
        return {
            **asked,
            "lm_eval": version("lm_eval"),
            "max_length": max_length,
            "count": sum(task["count"] for task in tasks.values()),
            "score": whole["metrics"][0] if whole and whole["metrics"] else None,
            "groups": groups,
            "tasks": tasks,
        }


def leaf_figures(task: Any, results: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of a single task, with what was asked.

    Args:
        task: The task as lm-eval has it.
        results: Its results.
        found: All of lm-eval's results.
    """
    name, config = task.config.task, task.config
    prompt = config.doc_to_text
    return {
        "shots": config.num_fewshot,
        "count": found["n-samples"][name]["effective"],
        "version": str(task.VERSION),
        "description": config.description or "",
        "prompt": prompt if isinstance(prompt, str) else f"{prompt.__module__}.{prompt.__qualname__}",
        "metrics": metrics_of(results),
    }


def metrics_of(results: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Figures of lm-eval, such as ``acc,none`` and ``acc_stderr,none``, as a list."""
    found: list[dict[str, Any]] = []
    for key, value in results.items():
        metric, comma, chosen = key.partition(",")
        if not comma or metric.endswith("_stderr") or not isinstance(value, int | float):
            continue
        error = results.get(f"{metric}_stderr,{chosen}")
        known = float(error) if isinstance(error, int | float) and isfinite(error) else None
        found.append({"name": metric, "filter": chosen, "value": float(value), "stderr": known})
    return found


def samples_of(name: str, task: Any, found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every question, answer and verdict of a single task.

    Args:
        name: Name of the task.
        task: The task as lm-eval has it.
        found: All of lm-eval's results.
    """
    made: list[dict[str, Any]] = []
    for sample in found["samples"][name]:
        scores = {metric: plain(sample[metric]) for metric in sample["metrics"]}
        first = next(iter(scores.values()), None)
        arguments = sample["arguments"]
        is_choice = len(arguments) > 1
        made.append(
            {
                "task": name,
                "id": sample["doc_id"],
                "question": plain(task.doc_to_text(sample["doc"])),
                "prompt": plain(arguments[0][0]),
                "target": plain(sample["target"]),
                **({"choices": [plain(argument[-1]) for argument in arguments]} if is_choice else {}),
                "answer": plain([answers[0] for answers in sample["resps"]] if is_choice else sample["resps"][0]),
                "read_as": plain(sample["filtered_resps"]),
                "filter": sample["filter"],
                "scores": scores,
                "correct": bool(first) if isinstance(first, bool | int | float) and first in (0, 1) else None,
            }
        )
    return made


def plain(value: Any) -> Any:
    """A value in JSON's types, others as text."""
    return json.loads(json.dumps(value, default=str))
